// Classify texts with a pipeline of transformers.js:  node transformers.mjs BUNDLE [DTYPE] < texts.json
import { access } from "node:fs/promises";
import path from "node:path";

import { Tensor, env, pipeline } from "@huggingface/transformers";

import { descriptionOf, inWords, jsonOf } from "./description.mjs";
import { asInPython } from "./sentopt-classifier/bert.mjs";
import { chosen, cut, isMultiLabel, specialTokens } from "./sentopt-classifier/classifier.mjs";
import { encodedPair, layoutOfPairs } from "./sentopt-classifier/pairs.mjs";
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
const file = await jsonOf(bundle, "tokenizer.json");
asInPython(tokenizer._tokenizer, file);
// It cuts a long text on the right only, and cuts its final special tokens off too: it is cut here instead. Its pipeline
// gives the tokenizer what it is given; of a pair it would make two texts.
const encoder = { encode: (text, options) => ({ ids: tokenizer.encode(text, options) }) };
classifier.tokenizer = facts.pair ? pairTokenizer() : textTokenizer();
// It applies the sigmoid function where config.json says "multi_label_classification", as the bundle's does.
if (isMultiLabel(facts) && !isMultiLabel(classifier.model.config)) {
  fail(`config.json of ${bundle} lacks "problem_type": "multi_label_classification", which sentopt.json has`);
}

const answers = [];
for (const text of await textsOnStdin(facts.pair)) {
  // top_k and not topk: the old name is ignored. null gives all labels, the most probable one first.
  const [scores] = await classifier([text], { top_k: null });
  const probabilities = Object.fromEntries(scores.map(({ label, score }) => [label, score]));
  answers.push({ label: scores[0].label, probabilities, ...(isMultiLabel(facts) && { labels: present(scores) }) });
}
console.log(JSON.stringify(answers));

function textTokenizer() {
  const around = specialTokens(encoder);
  return ([text]) => {
    const inputs = tokenizer(text.toWellFormed());
    if (inputs.input_ids.data.length <= facts.max_length) return inputs;
    for (const [name, { data }] of Object.entries(inputs)) inputs[name] = row(cut([...data], around, facts));
    return inputs;
  };
}

function pairTokenizer() {
  const layout = layoutOfPairs(tokenizer._tokenizer, file);
  return ([pair]) => {
    const { ids, types } = encodedPair(tokenizer._tokenizer, layout, pair, facts);
    return { input_ids: row(ids), attention_mask: row(ids.map(() => 1)), token_type_ids: row(types) };
  };
}

function row(values) {
  return new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
}

/** The labels that reach their thresholds. */
function present(scores) {
  const threshold = new Map(facts.labels.map((label, i) => [label, facts.thresholds[i]]));
  return scores.filter(({ label, score }) => score >= Math.fround(threshold.get(label))).map(({ label }) => label);
}
