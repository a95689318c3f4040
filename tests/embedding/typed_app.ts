// An application as TypeScript sees it: checked by test_npm_package.py, with mistakes put in.
import { readFile } from "node:fs/promises";

import { Tokenizer } from "@huggingface/tokenizers";
import * as native from "onnxruntime-node";
import * as web from "onnxruntime-web/wasm";
import { Classifier, fetchedFrom, type GoldenCheck, type Prediction, type Progress, type Text } from "sentopt-classifier";
import { Classifier as Core, type LoadOptions } from "sentopt-classifier/core";

function best({ label, probabilities }: Prediction): [string, number] {
  return [label, probabilities[label] ?? 0];
}

const shares: number[] = [];
const onProgress = ({ loaded, total }: Progress) => shares.push(loaded / total);
const classifier = await Classifier.load(process.argv[2] ?? "bundle", { check: true, onProgress, timeout: 5_000 });
const labels: string[] = classifier.labels;
const [label, score] = best(await classifier.classify("a great day"));
console.log(label, score.toFixed(3), labels, shares.at(-1));

const many: Prediction[] = await classifier.classifyAll(new Set(["one", "two"]), { batchSize: 2 });
const golden: GoldenCheck = await classifier.checkGolden();
console.log(many.length, golden.changed.length, golden.largest <= golden.allowed, golden.moved);
const found: string[] = many.flatMap(({ labels }) => labels);
const limits: readonly number[] = classifier.thresholds ?? [];
const text: Text = classifier.pair ? ["a great day", classifier.pair[1]] : "a great day";
const pairs: (readonly [string, string])[] = [["a great day", "the weather"]];
export const ofPairs = () => classifier.classifyAll(pairs);
console.log(found.length, limits.length, (await classifier.classify(text)).label);
await classifier.dispose();

const read = (name: string) => readFile(`${process.argv[2]}/${name}`);
const options: LoadOptions = { ort: native, Tokenizer, signal: AbortSignal.timeout(60_000) };
const core: Core = await Core.load(read, options);
console.log((await core.classify("one")).truncated);
export const inBrowser = () => Core.load(fetchedFrom("https://example.org/bundle/"), { ort: web, Tokenizer });
