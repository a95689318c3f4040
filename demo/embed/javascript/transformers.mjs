// Classify texts with a pipeline of transformers.js:  node transformers.mjs BUNDLE < texts.json
import { readFile } from "node:fs/promises";
import path from "node:path";
import { json } from "node:stream/consumers";

import { Tensor, env, pipeline } from "@huggingface/transformers";

import { asInPython, cut, specialTokens } from "./classifier.mjs";

const bundle = path.resolve(process.argv[2]);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(bundle);

const facts = JSON.parse(await readFile(path.join(bundle, "sentopt.json"), "utf8"));
const { normalizer } = JSON.parse(await readFile(path.join(bundle, "tokenizer.json"), "utf8"));
const classifier = await pipeline("text-classification", path.basename(bundle), {
  dtype: facts.model_file.endsWith("_quantized.onnx") ? "q8" : "fp32",
  local_files_only: true,
});

// transformers.js cuts a long text on the right only, and cuts its final special tokens off too: it is cut here instead.
const { tokenizer } = classifier;
const around = specialTokens({ encode: (text, options) => ({ ids: tokenizer.encode(text, options) }) });
classifier.tokenizer = (text) => {
  const inputs = tokenizer(asInPython(text, normalizer));
  if (inputs.input_ids.data.length <= facts.max_length) return inputs;
  for (const [name, { data }] of Object.entries(inputs)) {
    inputs[name] = new Tensor("int64", BigInt64Array.from(cut([...data], around, facts)), [1, facts.max_length]);
  }
  return inputs;
};

const answers = [];
for (const text of await json(process.stdin)) {
  const scores = await classifier(text, { top_k: null }); // the most probable label first
  const probabilities = Object.fromEntries(scores.map(({ label, score }) => [label, score]));
  answers.push({ label: scores[0].label, probabilities });
}
console.log(JSON.stringify(answers));
