// Classify texts with a pipeline of transformers.js:  node transformers.mjs BUNDLE [DTYPE] < texts.json
import { access } from "node:fs/promises";
import path from "node:path";

import { Tensor, env, pipeline } from "@huggingface/transformers";

import { descriptionOf, inWords, jsonOf } from "./description.mjs";
import { asInPython } from "./sentopt-classifier/bert.mjs";
import { chosen, cut, specialTokens } from "./sentopt-classifier/classifier.mjs";
import { fail, textsOnStdin } from "./stdin.mjs";

const FILES = { fp32: "onnx/model.onnx", q8: "onnx/model_quantized.onnx" };

if (!process.argv[2]) fail("usage: node transformers.mjs BUNDLE [DTYPE] < texts.json", 2);
const bundle = path.resolve(process.argv[2]);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(bundle);

const facts = await descriptionOf(bundle);
const dtype = process.argv[3] ?? (facts.model_file === FILES.fp32 ? "fp32" : "q8");
if (!Object.hasOwn(FILES, dtype)) fail(`dtype must be one of ${Object.keys(FILES).join(", ")}, found ${dtype}`, 2);
await access(path.join(bundle, FILES[dtype])).catch(() =>
  fail(`this bundle has no ${FILES[dtype]}, which dtype ${dtype} stands for; it has ${facts.model_file}`),
);
if (facts.model_file === FILES[dtype]) inWords(chosen, facts);
const classifier = await pipeline("text-classification", path.basename(bundle), { dtype, local_files_only: true }).catch(
  (error) => fail(`transformers.js cannot load ${bundle}: ${error.message}`),
);

// transformers.js splits words by the Unicode tables of the JavaScript engine: it shall use those of the training.
const { tokenizer } = classifier;
asInPython(tokenizer._tokenizer, await jsonOf(bundle, "tokenizer.json"));
// It cuts a long text on the right only, and cuts its final special tokens off too: it is cut here instead.
const around = specialTokens({ encode: (text, options) => ({ ids: tokenizer.encode(text, options) }) });
classifier.tokenizer = (text) => {
  const inputs = tokenizer(text.toWellFormed());
  if (inputs.input_ids.data.length <= facts.max_length) return inputs;
  for (const [name, { data }] of Object.entries(inputs)) {
    inputs[name] = new Tensor("int64", BigInt64Array.from(cut([...data], around, facts)), [1, facts.max_length]);
  }
  return inputs;
};

const answers = [];
for (const text of await textsOnStdin()) {
  // top_k and not topk: the old name is ignored. null gives all labels, the most probable one first.
  const scores = await classifier(text, { top_k: null });
  const probabilities = Object.fromEntries(scores.map(({ label, score }) => [label, score]));
  answers.push({ label: scores[0].label, probabilities });
}
console.log(JSON.stringify(answers));
