// What loading a bundle with its golden check says:  echo '"onnxruntime-web"' | node golden.mjs BUNDLE
import { createRequire } from "node:module";
import { json } from "node:stream/consumers";

import { Classifier } from "../../demo/embed/javascript/sentopt-classifier/node.mjs";

const require = createRequire(new URL("../../demo/embed/javascript/package.json", import.meta.url));
const ort = require(await json(process.stdin));
const found = { warnings: [], error: null, golden: null };
const onWarning = (text) => found.warnings.push(text);
await Classifier.load(process.argv[2], { ort, check: true, onWarning }).catch((error) => (found.error = error.message));
if (found.error === null) found.golden = await (await Classifier.load(process.argv[2], { ort })).checkGolden();
console.log(JSON.stringify(found));
