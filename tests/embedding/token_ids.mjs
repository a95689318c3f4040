// Token ids of texts by the examples' classifier, one list per text:  node token_ids.mjs BUNDLE < texts.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { json } from "node:stream/consumers";

import { Classifier } from "../../demo/embed/javascript/sentopt-classifier/classifier.mjs";

const require = createRequire(new URL("../../demo/embed/javascript/package.json", import.meta.url));
const { Tokenizer } = require("@huggingface/tokenizers");

const [bundle] = process.argv.slice(2);
const read = (name) => JSON.parse(readFileSync(`${bundle}/${name}`, "utf8"));
const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
const classifier = new Classifier(read("sentopt.json"), tokenizer, null, null);
console.log(JSON.stringify((await json(process.stdin)).map((text) => classifier.encode(text))));
