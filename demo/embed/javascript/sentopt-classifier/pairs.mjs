/** Pairs of texts: their special tokens, the types of their tokens, and which tokens of long ones are read. */
import { named } from "./options.mjs";

/** Whether a value is a pair of texts. */
export function isPair(value) {
  return Array.isArray(value) && value.length === 2 && value.every((text) => typeof text === "string");
}

/** A text as it is expected, or else what is wrong with it; `pair` holds the names of the two texts of a pair, or null. */
export function checkedText(text, pair, what) {
  if (pair === null ? typeof text === "string" : isPair(text)) return text;
  let found = Array.isArray(text) ? `an array of ${text.length}` : named(text);
  if (Array.isArray(text) && text.length === 2) found = `an array of ${text.map(named).join(" and ")}`;
  throw new TypeError(`${what} ${pair === null ? "a string" : inWords(pair)}, found ${found}`);
}

/** What a classifier of pairs is given, for messages. */
export function inWords(pair) {
  return `a pair of strings, [${pair.join(", ")}]`;
}

/**
 * What a tokenizer makes of a pair: special tokens before, between and behind its texts, and the type of each token.
 *
 * `file` is the content of tokenizer.json. The texts are encoded apart: the library takes an empty second text for none.
 */
export function layoutOfPairs(tokenizer, file) {
  const { ids, token_type_ids } = tokenizer.encode("a", { text_pair: "b", return_token_type_ids: true });
  const [first, second] = ["a", "b"].map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
  const start = indexOf(ids, first, 0);
  const next = start < 0 ? -1 : indexOf(ids, second, start + first.length);
  if (next < 0) throw new Error(`the tokenizer cannot join two texts: it makes the tokens ${ids.join(" ")} of "a" and "b"`);
  // RoBERTa's tokens have one type in Python, where the model was trained; here the library gives them two.
  const types = file.post_processor?.type === "RobertaProcessing" ? ids.map(() => 0) : token_type_ids;
  const part = (from, to) => ({ ids: ids.slice(from, to), types: types.slice(from, to) });
  return {
    before: part(0, start),
    between: part(start + first.length, next),
    behind: part(next + second.length, ids.length),
    types: [types[start], types[next]],
    special: ids.length - first.length - second.length,
  };
}

/** Token ids and types of a pair as in training: the longer of two long texts is cut first. */
export function encodedPair(tokenizer, layout, pair, { max_length, pad_token_id, truncation_side = "right" }) {
  const texts = pair.map((text) => tokenizer.encode(text.toWellFormed(), { add_special_tokens: false }).ids);
  const room = max_length - layout.special;
  const counts = longestFirst(texts[0].length, texts[1].length, room);
  const kept = texts.map((ids, i) => {
    const start = truncation_side === "left" ? ids.length - counts[i] : 0;
    return { ids: ids.slice(start, start + counts[i]), types: new Array(counts[i]).fill(layout.types[i]) };
  });
  const parts = [layout.before, kept[0], layout.between, kept[1], layout.behind];
  const [ids, types] = [parts.flatMap((part) => part.ids), parts.flatMap((part) => part.types)];
  if (ids.length === 0) return { ids: [pad_token_id], types: [0], truncated: false };
  return { ids, types, truncated: texts[0].length + texts[1].length > room };
}

/** How many tokens of both texts are read: each gets half of the room if both need more, the longer one an odd token. */
export function longestFirst(first, second, room) {
  const shorter = Math.min(first, second, Math.floor(room / 2));
  const longer = Math.min(Math.max(first, second), room - shorter);
  return first > second ? [longer, shorter] : [shorter, longer];
}

function indexOf(ids, part, from) {
  const found = ids.findIndex((_, start) => start >= from && part.every((id, i) => ids[start + i] === id));
  return part.length > 0 ? found : -1;
}
