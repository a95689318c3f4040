// Classify texts with onnxruntime-node alone:  node onnxruntime-node.mjs BUNDLE < texts.json
import { Classifier } from "./sentopt-classifier/node.mjs";
import { fail, textsOnStdin } from "./stdin.mjs";

const [bundle] = process.argv.slice(2);
if (!bundle) fail("usage: node onnxruntime-node.mjs BUNDLE < texts.json", 2);

// The golden texts are answered first: a CPU that changes a label is an error, one that moves a probability a warning.
const classifier = await Classifier.load(bundle, { check: true }).catch((error) => fail(error.message));
const answers = [];
for (const text of await textsOnStdin(classifier.pair)) {
  const { label, probabilities, labels } = await classifier.classify(text);
  answers.push({ label, probabilities, ...(classifier.thresholds && { labels }) });
}
console.log(JSON.stringify(answers));
