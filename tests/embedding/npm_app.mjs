// An application of the package, for every JavaScript runtime:  node npm_app.mjs BUNDLE   (BUNDLE is a folder)
import { Classifier } from "sentopt-classifier";

const bundle = globalThis.process.argv[2];
const arrived = [];
const classifier = await Classifier.load(bundle, { check: true, onProgress: (progress) => arrived.push(progress) });
const texts = ["The soup was cold.", "great great day", "", "It opens at nine.", "terrible ".repeat(80), "half \ud83d a pair"];
const complaint = (promise) => promise.then(() => null, (error) => `${error.name}: ${error.message}`);
const found = {
  runtime: Object.keys(classifier.ort.env.versions).filter((name) => name !== "common"),
  labels: classifier.labels,
  arrived: arrived.at(-1),
  rising: arrived.every(({ loaded }, i) => i === 0 || loaded >= arrived[i - 1].loaded),
  one: [],
  many: await classifier.classifyAll(texts, { batchSize: 4 }),
  together: await Promise.all(texts.map((text) => classifier.classify(text))),
  none: await classifier.classifyAll([]),
  complaints: [
    await complaint(classifier.classify(null)),
    await complaint(classifier.classify()),
    await complaint(classifier.classify(["one"])),
    await complaint(classifier.classifyAll("one")),
    await complaint(classifier.classifyAll(null)),
    await complaint(classifier.classifyAll(["one", 2])),
    await complaint(classifier.classifyAll(["one"], { batchSize: 0 })),
    await complaint(Classifier.load(null)),
    await complaint(Classifier.load(bundle, null)),
    await complaint(Classifier.load(bundle, { chek: true })),
    await complaint(Classifier.load(`${bundle}-that-is-not-there`)),
    await complaint(Classifier.load(bundle, { fallback: true })),
  ],
};
for (const text of texts) found.one.push(await classifier.classify(text));
const last = classifier.classify("still answered");
await classifier.dispose();
found.last = (await last).label;
found.complaints.push(await complaint(classifier.classify("one")));
await classifier.dispose();
console.log(JSON.stringify({ texts, ...found }));
