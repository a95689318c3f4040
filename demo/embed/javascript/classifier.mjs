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
    if (facts.schema_version !== 1) throw new Error(`sentopt.json has schema ${facts.schema_version}, expected 1`);
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
    // Special tokens stand around a text: as many before it as after it, or one after it.
    const around = tokenizer.encode("").ids;
    this.ending = around.slice(Math.floor(around.length / 2));
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

  /** Token ids as in training: a long text is cut before its final special tokens, and a text without any is one pad. */
  encode(text) {
    const { ids } = this.tokenizer.encode(asInPython(text, this.tokenizer.tokenizer.normalizer));
    if (ids.length === 0) return { ids: [this.facts.pad_token_id], truncated: false };
    const truncated = ids.length > this.facts.max_length;
    if (truncated) ids.splice(this.facts.max_length - this.ending.length, Infinity, ...this.ending);
    return { ids, truncated };
  }
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
