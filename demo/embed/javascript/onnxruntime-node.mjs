// Classify texts with onnxruntime-node alone:  node onnxruntime-node.mjs BUNDLE < texts.json
import { readFile } from "node:fs/promises";
import path from "node:path";
import { json } from "node:stream/consumers";

import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-node";

import { Classifier } from "./classifier.mjs";

const [bundle] = process.argv.slice(2);
const classifier = await Classifier.load((name) => readFile(path.join(bundle, name)), { ort, Tokenizer });

const answers = [];
for (const text of await json(process.stdin)) {
  const { label, probabilities } = await classifier.classify(text);
  answers.push({ label, probabilities });
}
console.log(JSON.stringify(answers));
