// Put the page, a bundle and the libraries into one folder for any static web server:  npm run web -- BUNDLE OUT
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { described } from "./sentopt-classifier/classifier.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PAGE = path.join(HERE, "..", "..", "web");
const LIBRARIES = path.join(HERE, "node_modules");

if (process.argv.length !== 4) fail("usage: npm run web -- BUNDLE OUT");
// npm runs this script in the folder of package.json; paths are meant from where npm was called.
const [bundle, out] = process.argv.slice(2).map((name) => path.resolve(process.env.INIT_CWD ?? "", name));

const text = await readFile(path.join(bundle, "sentopt.json"), "utf8").catch(() =>
  fail(`${bundle} is not a bundle: it has no sentopt.json`),
);
const facts = checked(text);
if ((await readdir(out).catch(() => [])).length > 0) fail(`${out} is not empty`);

const copies = [
  ...["index.html", "style.css", "icon.svg", "page.js", "worker.js"].map((name) => [path.join(PAGE, name), name]),
  // As .js and not .mjs: older web servers do not know that .mjs is JavaScript, and browsers then refuse it.
  ...["classifier", "bert", "bert-characters", "files"].map((name) => [
    path.join(HERE, "sentopt-classifier", `${name}.mjs`),
    `classifier/${name}.js`,
  ]),
  [path.join(LIBRARIES, "@huggingface/tokenizers/dist/tokenizers.min.mjs"), "lib/tokenizers.js"],
  [path.join(LIBRARIES, "onnxruntime-web/dist/ort.wasm.bundle.min.mjs"), "lib/onnxruntime.js"],
  [path.join(LIBRARIES, "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"), "lib/ort-wasm-simd-threaded.wasm"],
  ...["sentopt.json", "tokenizer.json", "tokenizer_config.json", facts.model_file].map((name) => [
    path.join(bundle, name),
    `bundle/${name}`,
  ]),
];
const files = {};
for (const [from, to] of copies) {
  const bytes = to.startsWith("classifier/") ? withJs(await readFile(from, "utf8")) : await readFile(from);
  await write(to, bytes);
  files[to] = { bytes: bytes.length, sha256: sha256(bytes) };
}
const list = Buffer.from(JSON.stringify(files, null, 1));
await write("files.json", list);
const keeper = await readFile(path.join(PAGE, "service-worker.js"), "utf8");
await write("service-worker.js", Buffer.from(keeper.replace('VERSION = ""', `VERSION = "${sha256(list)}"`)));
console.log(`${copies.length + 2} files in ${out}; try it: python -m http.server --bind 127.0.0.1 --directory ${out}`);

async function write(name, bytes) {
  const file = path.join(out, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, bytes);
}

function withJs(source) {
  return Buffer.from(source.replaceAll(/"(\.\/[\w-]+)\.mjs"/g, '"$1.js"'));
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

function checked(text) {
  try {
    return described(JSON.parse(text));
  } catch (error) {
    return fail(error instanceof SyntaxError ? `sentopt.json cannot be read as JSON: ${error.message}` : error.message);
  }
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
