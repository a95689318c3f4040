// What loading a bundle and classifying a text is answered with, "Name: message" or null, for each case of a list on
// stdin:  node refusals.mjs BUNDLE < cases.json
//
//   description  the text of sentopt.json, or left out: the bundle's
//   options      of Classifier.load
//   many         options of classifyAll, which is called if they are there
//   fetching     options of fetchedFrom, likewise
import { readFile } from "node:fs/promises";
import path from "node:path";
import { json } from "node:stream/consumers";

import { Classifier, fetchedFrom } from "../../demo/embed/javascript/sentopt-classifier/node.mjs";

const bundle = process.argv[2];
const said = [];
for (const { description, options, many, fetching } of await json(process.stdin)) {
  const read = async (name) =>
    name === "sentopt.json" && description !== undefined
      ? new TextEncoder().encode(description)
      : readFile(path.join(bundle, name));
  try {
    if (fetching !== undefined) fetchedFrom("http://localhost/", fetching);
    const classifier = await Classifier.load(read, options);
    await classifier.classify("great");
    if (many !== undefined) await classifier.classifyAll(["great"], many);
    await classifier.dispose();
    said.push(null);
  } catch (error) {
    said.push(`${error.name}: ${error.message}`);
  }
}
console.log(JSON.stringify(said));
