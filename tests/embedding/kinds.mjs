// What the classifier says of a bundle and of texts, or pairs of them, and what it refuses:  node kinds.mjs BUNDLE < texts.json
import { createRequire } from "node:module";
import { json } from "node:stream/consumers";

import { Classifier } from "../../demo/embed/javascript/sentopt-classifier/node.mjs";

const require = createRequire(new URL("../../demo/embed/javascript/package.json", import.meta.url));
const { runtime, texts, wrong, wrongLists } = await json(process.stdin);
const classifier = await Classifier.load(process.argv[2], { ort: require(runtime), check: true });
const complaint = (promise) => promise.then(() => null, (error) => `${error.name}: ${error.message}`);
const one = [];
for (const text of texts) one.push(await classifier.classify(text));
console.log(
  JSON.stringify({
    pair: classifier.pair,
    thresholds: classifier.thresholds,
    golden: await classifier.checkGolden(),
    one,
    many: await classifier.classifyAll(texts, { batchSize: 16 }),
    complaints: await Promise.all(wrong.map((text) => complaint(classifier.classify(text)))),
    listComplaints: await Promise.all(wrongLists.map((list) => complaint(classifier.classifyAll(list)))),
  }),
);
