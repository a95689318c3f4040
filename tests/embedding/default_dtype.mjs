// A pipeline of transformers.js that is told nothing but the folder:  node default_dtype.mjs BUNDLE < texts.json
import { createRequire } from "node:module";
import path from "node:path";
import { json } from "node:stream/consumers";

const require = createRequire(new URL("../../demo/embed/javascript/package.json", import.meta.url));
const { env, pipeline } = require("@huggingface/transformers");

const bundle = process.argv[2];
env.allowRemoteModels = false;
env.localModelPath = path.dirname(bundle);
const classifier = await pipeline("text-classification", path.basename(bundle), { local_files_only: true });
console.log(JSON.stringify((await classifier(await json(process.stdin))).map(({ label }) => label)));
