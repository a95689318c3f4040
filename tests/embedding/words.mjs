// The words that BERT's normalizer and pre-tokenizer make, a JSON array a line:  node words.mjs < request.json
//
//   normalizer  the entry of tokenizer.json
//   texts       the texts, or null for every code point between two letters
import { json } from "node:stream/consumers";

import { normalizer, words } from "../../demo/embed/javascript/sentopt-classifier/bert.mjs";

const asked = await json(process.stdin);
const normalize = normalizer(asked.normalizer);
const lines = [];
for (const text of asked.texts ?? everyCodePoint()) lines.push(JSON.stringify(words(normalize(text))));
process.stdout.write(lines.join("\n"));

function* everyCodePoint() {
  for (let code = 0; code < 0x110000; code++) {
    if (code < 0xd800 || code > 0xdfff) yield `A${String.fromCodePoint(code)}b`;
  }
}
