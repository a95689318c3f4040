/**
 * A sentopt bundle in JavaScript: the same code answers in Node (onnxruntime-node) and in a browser (onnxruntime-web).
 *
 *   const classifier = await Classifier.load(read, { ort, Tokenizer });
 *   await classifier.classify("The soup was cold."); // { label, score, probabilities, truncated, labels }
 *
 * Nothing is imported but files of this folder: both libraries are passed in, because names such as "onnxruntime-web"
 * mean nothing in a web worker without a bundler. index.mjs and node.mjs bring them along. index.d.ts has the types.
 */
import { asInPython } from "./bert.mjs";
import { readerOf } from "./files.mjs";
import { OF_LOADING, OF_MANY_TEXTS, checkedOptions, named } from "./options.mjs";
import { checkedText, encodedPair, inWords, isPair, layoutOfPairs } from "./pairs.mjs";

export { fetchedFrom } from "./files.mjs";

export class Classifier {
  /**
   * Load a bundle after comparing each file that is used with its recorded SHA-256.
   *
   * `bundle` is an address to fetch from, an object or a Map of the files' bytes by name, or an async function that
   * returns the bytes (Uint8Array) of a file, given its name.
   */
  static async load(bundle, options = {}) {
    checkedOptions("Classifier.load", options, OF_LOADING);
    const { ort, Tokenizer, check = false, fallback = false, sessionOptions = {}, onWarning = console.warn } = options;
    if (!ort?.InferenceSession || typeof Tokenizer !== "function") {
      throw new TypeError("Classifier.load needs { ort, Tokenizer }: onnxruntime and @huggingface/tokenizers");
    }
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    const read = readerOf(bundle, { ...options, signal });
    const facts = chosen(described(parse("sentopt.json", await read("sentopt.json"))), fallback);
    const [file, config, model] = await verified(read, facts, { ...options, signal }).catch((error) => {
      stop.abort(error); // what is still being fetched
      throw error;
    });
    const tokenizer = new Tokenizer(parse("tokenizer.json", file), parse("tokenizer_config.json", config));
    const session = await ort.InferenceSession.create(model, sessionOptions).catch((error) => {
      throw new Error(`${facts.model_file} cannot be loaded by onnxruntime: ${error.message}`, { cause: error });
    });
    const classifier = new this(facts, tokenizer, session, ort);
    try {
      refuseOtherNames(session, facts);
      classifier.refuseFullFrame();
      if (check) await classifier.checked(onWarning);
    } catch (error) {
      await classifier.dispose();
      throw error;
    }
    return classifier;
  }

  constructor(facts, tokenizer, session, ort) {
    Object.assign(this, { facts, tokenizer, session, ort });
    asInPython(tokenizer, tokenizer.tokenizer);
    this.pair = facts.pair ?? null;
    this.around = this.pair ? layoutOfPairs(tokenizer, tokenizer.tokenizer) : specialTokens(tokenizer);
    this.running = new Set();
  }

  get labels() {
    return [...this.facts.labels];
  }

  /** From which probability on a text has each label, in the order of `labels`; null where each text has one label. */
  get thresholds() {
    return isMultiLabel(this.facts) ? [...this.facts.thresholds] : null;
  }

  /**
   * The most probable label of one text, its probability, those of all labels, whether the text was cut, and its labels:
   * the one, or all that reach their thresholds in a multi-label model. A model of pairs is given [first, second].
   */
  async classify(text) {
    if (this.pair === null && typeof text !== "string") {
      throw new TypeError(`classify expects one text (a string), found ${named(text)}; for many texts: classifyAll(texts)`);
    }
    return (await this.answer([this.encode(checkedText(text, this.pair, "classify expects"))]))[0];
  }

  /**
   * The answers for many texts, or many pairs of them, in their order. Those of similar length are run together,
   * `batchSize` at a time.
   */
  async classifyAll(texts, options = {}) {
    const list = listOf(texts, this.pair);
    const { batchSize = 16 } = checkedOptions("classifyAll", options, OF_MANY_TEXTS);
    const tokens = list.map((text) => this.encode(text));
    const order = tokens.map((_, i) => i).sort((a, b) => tokens[a].ids.length - tokens[b].ids.length);
    const answers = new Array(tokens.length);
    for (let start = 0; start < order.length; start += batchSize) {
      const some = order.slice(start, start + batchSize);
      const found = await this.answer(some.map((i) => tokens[i]));
      some.forEach((i, position) => (answers[i] = found[position]));
    }
    return answers;
  }

  /**
   * Answer the bundle's golden texts: how many labels (or sets of labels) differ from PyTorch's, and by how much a
   * probability does at most.
   *
   * Worth a call where the CPU or the runtime is another than the one the bundle was verified on, as in a browser.
   * A changed label means that the bundle is not what was verified here. Probabilities that moved by more than `allowed`
   * mean that INT8 is rounded otherwise: the labels hold, scores are less exact.
   */
  async checkGolden() {
    const { golden, labels } = this.facts;
    if (golden.length === 0) throw new Error("this bundle carries no golden texts to check");
    const changed = [];
    let largest = 0;
    for (const entry of golden) {
      const { probabilities } = entry;
      const text = this.pair ? [entry.text, entry.pair] : entry.text;
      const answer = await this.classify(text);
      const found = labels.map((label) => answer.probabilities[label]);
      if (!found.every(Number.isFinite) || this.decided(found) !== this.decided(probabilities)) changed.push(text);
      largest = Math.max(largest, ...found.map((p, i) => Math.abs(p - probabilities[i])));
    }
    const allowed = allowedDifference(this.facts, this.ort);
    return { texts: golden.length, changed, largest, allowed, moved: !(largest <= allowed) };
  }

  /** `checkGolden`, with an error for a changed label and a warning for probabilities that moved. */
  async checked(onWarning) {
    const { texts, changed, largest, allowed, moved } = await this.checkGolden();
    if (changed.length > 0) {
      const advice = this.facts.fallback ? "load the FP32 graph of this bundle with fallback: true" : "ship an FP32 bundle";
      throw new Error(
        `${changed.length} of ${texts} golden texts have another label here than where the bundle was verified, ` +
          `for example ${JSON.stringify(changed[0])}; ${advice}`,
      );
    }
    if (moved) {
      onWarning(
        `the labels of all ${texts} golden texts are as verified, but a probability differs by ${largest.toFixed(4)}, ` +
          `${allowed.toFixed(4)} was expected: scores are less exact here`,
      );
    }
  }

  /** Free the memory of the model, once what is being answered is answered. */
  async dispose() {
    const session = this.session;
    this.session = null;
    await Promise.allSettled(this.running);
    await session?.release?.();
  }

  /** The labels that probabilities stand for, in one string, whichever of them is the most probable one. */
  decided(probabilities) {
    const { thresholds } = this;
    return String(thresholds ? present(probabilities, thresholds) : indexOfLargest(probabilities));
  }

  /** Nothing of a text would be read where the special tokens take all of the room. */
  refuseFullFrame() {
    const { max_length } = this.facts;
    if (this.pair && this.around.special >= max_length) {
      throw new Error(`the tokenizer adds ${this.around.special} special tokens to a pair, and max_length is ${max_length}`);
    }
  }

  /**
   * Token ids as in training: a long text is cut between its special tokens, and a text without any is one pad. A pair has
   * the types of its tokens besides.
   */
  encode(text) {
    if (this.pair) return encodedPair(this.tokenizer, this.around, text, this.facts);
    const { ids } = this.tokenizer.encode(text.toWellFormed()); // a lone surrogate becomes U+FFFD, as in Python
    if (ids.length === 0) return { ids: [this.facts.pad_token_id], truncated: false };
    const truncated = ids.length > this.facts.max_length;
    return { ids: truncated ? cut(ids, this.around, this.facts) : ids, truncated };
  }

  /** Answers for one batch of encoded texts, which is padded on the right to the longest of them. */
  async answer(tokens) {
    if (!this.session) throw new Error("this classifier was disposed of: load the bundle again");
    const run = this.session.run(this.inputs(tokens));
    this.running.add(run);
    try {
      const { labels, output } = this.facts;
      const { data, dims } = (await run)[output];
      if (dims.length !== 2 || dims[0] !== tokens.length || dims[1] !== labels.length) {
        throw new Error(
          `the model answers ${tokens.length} texts with logits of shape ${dims.join(" × ")}, ` +
            `expected ${tokens.length} × ${labels.length}: the bundle has ${labels.length} labels`,
        );
      }
      const logits = [...data];
      return tokens.map(({ truncated }, row) =>
        this.prediction(logits.slice(row * labels.length, (row + 1) * labels.length), truncated),
      );
    } finally {
      this.running.delete(run);
    }
  }

  prediction(logits, truncated) {
    const { thresholds, labels } = this;
    const scores = thresholds ? logits.map(sigmoid) : softmax(logits);
    const best = indexOfLargest(scores);
    const probabilities = Object.fromEntries(labels.map((label, i) => [label, scores[i]]));
    const found = thresholds ? present(scores, thresholds).sort((a, b) => scores[b] - scores[a]) : [best];
    return { label: labels[best], score: scores[best], probabilities, truncated, labels: found.map((i) => labels[i]) };
  }

  inputs(tokens) {
    const width = Math.max(...tokens.map(({ ids }) => ids.length));
    const padded = (value, filler) =>
      tokens.flatMap((one) => Array.from({ length: width }, (_, i) => (i < one.ids.length ? value(one, i) : filler(one))));
    const values = {
      input_ids: () => padded(({ ids }, i) => ids[i], () => this.facts.pad_token_id),
      attention_mask: () => padded(() => 1, () => 0),
      token_type_ids: () => padded(({ types }, i) => types?.[i] ?? 0, () => 0),
      position_ids: () => padded((_, i) => i, ({ ids }) => ids.length - 1),
    };
    const shape = [tokens.length, width];
    const tensor = (name) => new this.ort.Tensor("int64", BigInt64Array.from(values[name](), BigInt), shape);
    return Object.fromEntries(this.session.inputNames.map((name) => [name, tensor(name)]));
  }
}

const ENGINE = "onnxruntime";
const ENGINES = [ENGINE, "openvino"]; // those of bundles; here is the first
const INPUTS = ["input_ids", "attention_mask", "token_type_ids", "position_ids"];
// 2 says with truncation_side that long texts are cut on the left, 3 that there are pairs of texts or sets of labels.
const NEWEST_SCHEMA = 3;
const MULTI_LABEL = "multi_label_classification";

/**
 * How far a probability of a golden text may be from PyTorch's.
 *
 * WebAssembly rounds INT8 otherwise than the CPU that the bundle was verified on. What it does was measured when the
 * bundle was made if Node and onnxruntime-web were there; twice the tolerance of other CPUs is taken if not.
 */
export function allowedDifference(facts, ort) {
  if (!ort.env?.versions?.web) return facts.golden_tolerance;
  return facts.webassembly?.golden_tolerance ?? 2 * facts.golden_tolerance;
}

/** How many special tokens stand before and after every text. */
export function specialTokens(tokenizer) {
  const whole = tokenizer.encode("a").ids;
  const text = tokenizer.encode("a", { add_special_tokens: false }).ids;
  const before = whole.findIndex((_, start) => text.every((id, i) => whole[start + i] === id));
  return { before, after: whole.length - before - text.length };
}

/** `max_length` of the ids of a longer text: its special tokens, and between them the beginning or the end of the text. */
export function cut(ids, { before, after }, { max_length, truncation_side = "right" }) {
  const end = ids.length - after;
  const room = max_length - before - after;
  const kept = truncation_side === "left" ? ids.slice(end - room, end) : ids.slice(before, before + room);
  return [...ids.slice(0, before), ...kept, ...ids.slice(end)];
}

/** The tokenizer's two files and the graph, compared with their SHA-256. */
async function verified(read, facts, { onProgress = () => {}, signal }) {
  const names = ["tokenizer.json", "tokenizer_config.json", facts.model_file];
  const total = names.reduce((sum, name) => sum + facts.files[name].bytes, 0);
  const loaded = new Map(names.map((name) => [name, 0]));
  const report = (file, bytes) => {
    if (signal.aborted) return;
    loaded.set(file, Math.min(bytes, facts.files[file].bytes));
    onProgress({ file, loaded: [...loaded.values()].reduce((sum, bytes) => sum + bytes), total });
  };
  return Promise.all(
    names.map(async (name) => {
      report(name, 0);
      const bytes = await read(name, (bytes) => report(name, bytes));
      if ((await sha256(bytes)) !== facts.files[name].sha256) {
        throw new Error(`${name}: content differs from what was verified (SHA-256)`);
      }
      report(name, bytes.length);
      return bytes;
    }),
  );
}

/** Whether a name is that of a file below the bundle's folder, on every system and as part of an address. */
function isInside(name) {
  return !/^[/]|(^|[/])[.]{1,2}([/]|$)|[\\:?#%]|^$/.test(name);
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isWhole(value, lowest = 0) {
  return Number.isSafeInteger(value) && value >= lowest;
}

function isShare(value) {
  return Number.isFinite(value) && value >= 0 && value <= 1; // JSON's 1e999 is Infinity
}

function areLabels(labels) {
  if (!Array.isArray(labels) || labels.length < 2 || new Set(labels).size < labels.length) return false;
  return labels.every((label) => typeof label === "string" && label.trim() !== "");
}

function areShares(values, count) {
  return Array.isArray(values) && values.length === count && values.every(isShare);
}

function isGolden(golden, count, pair) {
  if (!isObject(golden) || typeof golden.text !== "string") return false;
  return (pair === null || typeof golden.pair === "string") && areShares(golden.probabilities, count);
}

/** Whether a text has any number of labels. */
export function isMultiLabel({ problem_type }) {
  return problem_type === MULTI_LABEL;
}

function areNames(pair) {
  return isPair(pair) && pair[0] !== pair[1] && pair.every((name) => name.trim() !== "");
}

/** `facts` if it describes a bundle that this code reads. */
export function described(facts) {
  if (!isObject(facts)) throw new Error(`sentopt.json is malformed: it must hold an object, found ${named(facts)}`);
  if (!isWhole(facts.schema_version, 1) || facts.schema_version > NEWEST_SCHEMA) {
    throw new Error(`sentopt.json has schema ${JSON.stringify(facts.schema_version)}, expected 1 to ${NEWEST_SCHEMA}`);
  }
  const { labels, output, model_file, files, golden, webassembly, engine = ENGINE, truncation_side = "right" } = facts;
  // A bundle may be somebody else's, and its names say what is read from where: no address, nothing outside its folder.
  const names = [...Object.keys(files ?? {}), ...(typeof model_file === "string" ? [model_file] : [])];
  const outside = names.find((name) => !isInside(name));
  if (outside !== undefined) {
    throw new Error(`sentopt.json lists a file that lies outside the bundle: ${JSON.stringify(outside)}`);
  }
  const isListed = (name) => isWhole(files?.[name]?.bytes) && /^[0-9a-f]{64}$/.test(files[name].sha256);
  const tolerance = "expected a number from 0 to 1";
  refuseMalformed([
    [areLabels(labels), "labels (expected two or more names, all different)"],
    [isWhole(facts.max_length, 1), "max_length (expected a whole number from 1)"],
    [isWhole(facts.pad_token_id), "pad_token_id (expected a whole number from 0)"],
    [["left", "right"].includes(truncation_side), "truncation_side (expected left or right)"],
    [ENGINES.includes(engine), `engine (expected ${ENGINES.join(" or ")})`],
    [typeof output === "string" && output.trim() !== "", "output (expected a name)"],
    [typeof model_file === "string", "model_file (expected the name of a file)"],
    [Array.isArray(golden), "golden (expected a list)"],
    [facts.problem_type === undefined || isMultiLabel(facts), `problem_type (expected ${MULTI_LABEL})`],
    [
      !isMultiLabel(facts) || areShares(facts.thresholds, labels?.length),
      `thresholds (expected ${labels?.length} numbers from 0 to 1, one for each label)`,
    ],
    [facts.pair === undefined || areNames(facts.pair), "pair (expected two different names)"],
    [isShare(facts.golden_tolerance), `golden_tolerance (${tolerance})`],
    [(webassembly ?? null) === null || isObject(webassembly), "webassembly (expected an object)"],
    [isShare(webassembly?.golden_tolerance ?? 0), `webassembly.golden_tolerance (${tolerance})`],
    ...["tokenizer.json", "tokenizer_config.json", ...(typeof model_file === "string" ? [model_file] : [])].map((name) => [
      isListed(name),
      `files: ${name} (expected its bytes and its sha256)`,
    ]),
  ]);
  const pair = facts.pair ?? null;
  const wrong = golden.findIndex((entry) => !isGolden(entry, labels.length, pair));
  const texts = pair ? "a text, a pair" : "a text";
  const entry = `golden[${wrong}] (expected ${texts} and ${labels.length} probabilities from 0 to 1, one for each label)`;
  refuseMalformed([[wrong < 0, entry]]);
  return facts;
}

function refuseMalformed(findings) {
  const wrong = findings.filter(([right]) => !right).map(([, words]) => words);
  if (wrong.length > 0) throw new Error(`sentopt.json is malformed: ${wrong.join(", ")}`);
}

/** The description with its own graph, or with the FP32 graph that it may carry. */
export function chosen(facts, fallback = false) {
  const { engine = ENGINE } = facts;
  if (!fallback) {
    if (engine === ENGINE) return facts;
    const advice = facts.fallback ? "load its FP32 graph with fallback: true" : `export a bundle for ${ENGINE}`;
    throw new Error(`this bundle was verified with the engine ${JSON.stringify(engine)}, here is ${ENGINE}; ${advice}`);
  }
  if (!facts.fallback) throw new Error("fallback: true needs an FP32 graph, and this bundle carries none");
  const { variant, model_file, output, golden_tolerance } = facts.fallback;
  const graph = { engine: ENGINE, variant, model_file, output, golden_tolerance };
  return described({ ...facts, ...graph, fallback: undefined, webassembly: undefined });
}

/** The graph must have the output that is read, and no input but those that are given. */
function refuseOtherNames({ inputNames, outputNames }, { model_file, output }) {
  if (!outputNames.includes(output)) {
    throw new Error(`${model_file} has no output ${JSON.stringify(output)}; it has ${outputNames.join(", ")}`);
  }
  const other = inputNames.find((name) => !INPUTS.includes(name));
  if (other !== undefined) {
    throw new Error(`${model_file} wants an input ${JSON.stringify(other)}; given are ${INPUTS.join(", ")}`);
  }
}

function parse(name, bytes) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Error(`${name} cannot be read as JSON: ${error.message}`, { cause: error });
  }
}

function listOf(texts, pair) {
  if (typeof texts === "string" || typeof texts?.[Symbol.iterator] !== "function") {
    const what = pair ? `an array, each of ${inWords(pair)}` : "an array of texts";
    throw new TypeError(`classifyAll expects ${what}, found ${named(texts)}`);
  }
  return Array.from(texts, (text, i) => checkedText(text, pair, `text ${i} must be`));
}

async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new Error("the files cannot be checked here: browsers compute SHA-256 on https and localhost addresses only");
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function indexOfLargest(numbers) {
  return numbers.indexOf(Math.max(...numbers));
}

/** The positions of the labels that reach their thresholds, in float32 as in Python. */
function present(probabilities, thresholds) {
  const positions = [...thresholds.keys()];
  return positions.filter((i) => Math.fround(probabilities[i]) >= Math.fround(thresholds[i]));
}

function sigmoid(logit) {
  return 1 / (1 + Math.exp(-logit));
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const total = powers.reduce((sum, power) => sum + power);
  return powers.map((power) => power / total);
}
