/**
 * A sentopt bundle in JavaScript: the same code answers in Node (onnxruntime-node) and in a browser (onnxruntime-web).
 *
 *   const classifier = await Classifier.load(read, { ort, Tokenizer });
 *   await classifier.classify("The soup was cold."); // { label, score, probabilities, truncated }
 *
 * Both libraries are passed in, because module names such as "onnxruntime-web" mean nothing in a web worker.
 */
export class Classifier {
  /**
   * Load a bundle after comparing each file that is used with its recorded SHA-256.
   *
   * `read` is an async function that returns the bytes (Uint8Array) of a file of the bundle, given its name.
   */
  static async load(read, { ort, Tokenizer }) {
    const facts = parse(await read("sentopt.json"));
    if (!SCHEMAS.includes(facts.schema_version)) {
      throw new Error(`sentopt.json has schema ${facts.schema_version}, expected ${SCHEMAS.join(" or ")}`);
    }
    const [vocabulary, config, model] = await Promise.all(
      ["tokenizer.json", "tokenizer_config.json", facts.model_file].map(async (name) => {
        const bytes = await read(name);
        if ((await sha256(bytes)) !== facts.files[name].sha256) {
          throw new Error(`${name}: content differs from what was verified (SHA-256)`);
        }
        return bytes;
      }),
    );
    const tokenizer = new Tokenizer(parse(vocabulary), parse(config));
    return new Classifier(facts, tokenizer, await ort.InferenceSession.create(model), ort);
  }

  constructor(facts, tokenizer, session, ort) {
    Object.assign(this, { facts, tokenizer, session, ort });
    this.around = specialTokens(tokenizer);
  }

  /** The most probable label of one text, its probability, those of all labels, and whether the text was cut. */
  async classify(text) {
    const { ids, truncated } = this.encode(text);
    const inputs = {
      input_ids: ids,
      attention_mask: ids.map(() => 1),
      token_type_ids: ids.map(() => 0),
      position_ids: ids.map((_, position) => position),
    };
    const asTensor = (name) =>
      new this.ort.Tensor("int64", BigInt64Array.from(inputs[name], BigInt), [1, ids.length]);
    const feeds = Object.fromEntries(this.session.inputNames.map((name) => [name, asTensor(name)]));
    const logits = (await this.session.run(feeds))[this.facts.output].data;

    const scores = softmax([...logits]);
    const best = indexOfLargest(scores);
    const probabilities = Object.fromEntries(this.facts.labels.map((label, i) => [label, scores[i]]));
    return { label: this.facts.labels[best], score: scores[best], probabilities, truncated };
  }

  /**
   * Answer the bundle's golden texts and return the largest difference from PyTorch's probabilities.
   *
   * Worth a call where the CPU or the runtime is another than the one the bundle was verified on, as in a browser.
   */
  async checkGolden() {
    let largest = 0;
    for (const { text, probabilities } of this.facts.golden) {
      const answer = await this.classify(text);
      const found = this.facts.labels.map((label) => answer.probabilities[label]);
      const difference = Math.max(...found.map((p, i) => Math.abs(p - probabilities[i])));
      const sameLabel = indexOfLargest(found) === indexOfLargest(probabilities);
      if (!sameLabel || difference > this.facts.golden_tolerance) {
        throw new Error(`a golden text is answered otherwise than where the bundle was verified: ${text}`);
      }
      largest = Math.max(largest, difference);
    }
    return largest;
  }

  /** Token ids as in training: a long text is cut between its special tokens, and a text without any is one pad. */
  encode(text) {
    const { ids } = this.tokenizer.encode(asInPython(text, this.tokenizer.tokenizer.normalizer));
    if (ids.length === 0) return { ids: [this.facts.pad_token_id], truncated: false };
    const truncated = ids.length > this.facts.max_length;
    return { ids: truncated ? cut(ids, this.around, this.facts) : ids, truncated };
  }
}

const SCHEMAS = [1, 2]; // 2 says with truncation_side that long texts are cut on the left

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

/**
 * Rewrite what JavaScript's tokenizer normalizes otherwise than the one the model was trained with, to get the same ids.
 *
 * @huggingface/tokenizers 0.2.0 makes a final Σ of a word ς instead of σ, and does not set ideographs beyond U+FFFF
 * apart as words. `normalizer` is that entry of tokenizer.json.
 */
export function asInPython(text, normalizer) {
  text = text.toWellFormed(); // a lone surrogate becomes U+FFFD, as in Python
  if (normalizer?.type !== "BertNormalizer") return text;
  if (normalizer.lowercase) text = text.replaceAll("Σ", "σ");
  if (normalizer.handle_chinese_chars) text = text.replace(BEYOND_FFFF, " $& ");
  return text;
}

const BEYOND_FFFF = /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

function parse(bytes) {
  return JSON.parse(new TextDecoder().decode(bytes));
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function indexOfLargest(numbers) {
  return numbers.indexOf(Math.max(...numbers));
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const total = powers.reduce((sum, power) => sum + power);
  return powers.map((power) => power / total);
}
