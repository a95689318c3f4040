// Classify texts with a pipeline of transformers.js:  node transformers.mjs BUNDLE < texts.json
import { readFile } from "node:fs/promises";
import path from "node:path";
import { json } from "node:stream/consumers";

import { env, pipeline } from "@huggingface/transformers";

import { asInPython } from "./classifier.mjs";

const bundle = path.resolve(process.argv[2]);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(bundle);

const { model_file, max_length } = JSON.parse(await readFile(path.join(bundle, "sentopt.json"), "utf8"));
const { normalizer } = JSON.parse(await readFile(path.join(bundle, "tokenizer.json"), "utf8"));
const classifier = await pipeline("text-classification", path.basename(bundle), {
  dtype: model_file.endsWith("_quantized.onnx") ? "q8" : "fp32",
  local_files_only: true,
});

// transformers.js cuts the final [SEP] off a long text; the model was trained with it. Uncut texts end with it anyway.
const { tokenizer } = classifier;
classifier.tokenizer = (text) => {
  const inputs = tokenizer(asInPython(text, normalizer), { truncation: true, max_length });
  inputs.input_ids.data[inputs.input_ids.data.length - 1] = BigInt(tokenizer.sep_token_id);
  return inputs;
};

const answers = [];
for (const text of await json(process.stdin)) {
  const scores = await classifier(text, { top_k: null }); // the most probable label first
  const probabilities = Object.fromEntries(scores.map(({ label, score }) => [label, score]));
  answers.push({ label: scores[0].label, probabilities });
}
console.log(JSON.stringify(answers));
