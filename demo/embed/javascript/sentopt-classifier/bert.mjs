/**
 * BERT's normalizer and pre-tokenizer as the `tokenizers` library has them that trains models and answers in Python.
 *
 * That library mixes several versions of Unicode; a JavaScript engine has one, a newer one with every release. So nothing
 * here asks the engine what is a letter, a mark, punctuation, a space or a lower case: all of it is in the tables.
 */
import * as tables from "./bert-characters.mjs";

/** Let a Tokenizer of @huggingface/tokenizers split words as in Python. `file` is the content of tokenizer.json. */
export function asInPython(tokenizer, file) {
  if (file.pre_tokenizer?.type === "BertPreTokenizer") tokenizer.pre_tokenizer = words;
  if (file.normalizer?.type !== "BertNormalizer") return;
  const normalize = normalizer(file.normalizer);
  tokenizer.normalizer = normalize;
  // Added tokens that are looked for in normalized text were normalized by the engine's rules.
  const normalized = tokenizer.added_tokens.filter((token) => token.normalized);
  const contents = normalized.map((token) => normalize(token.content));
  contents.forEach((content, i) => tokenizer.added_tokens_map.set(content, normalized[i]));
  tokenizer.splitter_normalized = new tokenizer.splitter_normalized.constructor(contents);
}

/** A function that normalizes texts, from the entry `normalizer` of tokenizer.json. */
export function normalizer({ clean_text, handle_chinese_chars, strip_accents, lowercase }) {
  return (text) => {
    if (clean_text) text = text.replace(DROPPED, "").replace(BLANK, " ");
    if (handle_chinese_chars) text = text.replace(IDEOGRAPHS, " $& ");
    if (strip_accents ?? lowercase) text = decomposed(text).replace(MARKS, "");
    if (lowercase) text = text.replace(UPPER, (character) => lowered.get(character));
    return text;
  };
}

/** The words of a normalized text; each punctuation mark is a word. */
export function words(text) {
  return text.split(SPACES).flatMap((word) => word.match(WORDS) ?? []);
}

/** Canonical decomposition (NFD): letters and marks apart, and several marks in their canonical order. */
function decomposed(text) {
  return text
    .replace(COMPOSED, (character) => decompositions.get(character))
    .replace(HANGUL, letters)
    .replace(MARKS_TO_ORDER, (marks) => [...marks].sort((a, b) => classes.get(a) - classes.get(b)).join(""));
}

/** The letters of a Hangul syllable: an arithmetic rule of the Unicode standard, section 3.12. */
function letters(syllable) {
  const index = syllable.codePointAt(0) - 0xac00;
  const [lead, vowel, tail] = [Math.floor(index / 588), Math.floor((index % 588) / 28), index % 28];
  const codes = [0x1100 + lead, 0x1161 + vowel, 0x11a7 + tail];
  return String.fromCharCode(...(tail > 0 ? codes : codes.slice(0, 2)));
}

/** The entries of a table: { first, last, step, value }. */
function read(table) {
  return table
    .trim()
    .split(/\s+/)
    .map((entry) => {
      const [, first, last = first, step = "1", value] = /^(\w+)(?:-(\w+))?(?:\+(\d+))?(?:=(.+))?$/.exec(entry);
      return { first: parseInt(first, 16), last: parseInt(last, 16), step: Number(step), value };
    });
}

/** A class of characters for regular expressions. */
function setOf(table) {
  const escaped = (code) => `\\u{${code.toString(16)}}`;
  return read(table)
    .map(({ first, last }) => escaped(first) + (last > first ? `-${escaped(last)}` : ""))
    .join("");
}

/** A map from each character of a table to what `value` makes of its entry and its distance from the first one. */
function mapOf(table, value) {
  const found = new Map();
  for (const entry of read(table)) {
    for (let code = entry.first; code <= entry.last; code += entry.step) {
      found.set(String.fromCodePoint(code), value(entry.value, code - entry.first));
    }
  }
  return found;
}

function anyOf(characters) {
  return new RegExp(`[${[...characters].map((c) => `\\u{${c.codePointAt(0).toString(16)}}`).join("")}]`, "gu");
}

/** Hexadecimal code points with dots between them; the last one is shifted. */
function shifted(codes, distance) {
  const found = codes.split(".").map((code) => parseInt(code, 16));
  found[found.length - 1] += distance;
  return String.fromCodePoint(...found);
}

const DROPPED = new RegExp(`[${setOf(tables.DROPPED)}]`, "gu");
const BLANK = new RegExp(`[${setOf(tables.BLANK)}]`, "gu");
const IDEOGRAPHS = new RegExp(`[${setOf(tables.IDEOGRAPHS)}]`, "gu");
const MARKS = new RegExp(`[${setOf(tables.MARKS)}]`, "gu");
const MARKS_TO_ORDER = new RegExp(`[${setOf(tables.CLASSES)}]{2,}`, "gu");
const SPACES = new RegExp(`[${setOf(tables.SPACES)}]+`, "u");
const WORDS = new RegExp(`[${setOf(tables.PUNCTUATION)}]|[^${setOf(tables.PUNCTUATION)}]+`, "gu");
const HANGUL = /[\uac00-\ud7a3]/g;
const classes = mapOf(tables.CLASSES, Number);
const decompositions = mapOf(tables.DECOMPOSED, shifted);
const lowered = mapOf(tables.LOWER, shifted);
const COMPOSED = anyOf(decompositions.keys());
const UPPER = anyOf(lowered.keys());
