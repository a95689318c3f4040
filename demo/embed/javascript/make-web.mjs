// Put the page, a bundle and the libraries into one folder for any static web server:  npm run web -- BUNDLE OUT
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { descriptionOf, inWords } from "./description.mjs";
import { chosen } from "./sentopt-classifier/classifier.mjs";
import { fail } from "./stdin.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PAGE = path.join(HERE, "..", "..", "web");
const LIBRARIES = path.join(HERE, "node_modules");

if (process.argv.length !== 4) fail("usage: npm run web -- BUNDLE OUT", 2);
// npm runs this script in the folder of package.json; paths are meant from where npm was called.
const [bundle, out] = process.argv.slice(2).map((name) => path.resolve(process.env.INIT_CWD ?? "", name));

const facts = inWords(chosen, await descriptionOf(bundle));
if (isWithin(await realpath(bundle), await place(out))) {
  fail(`${out} lies in the bundle, which stays as it was verified: name another folder`);
}
const present = await readdir(out).catch((error) => {
  if (error.code === "ENOENT") return [];
  return fail(error.code === "ENOTDIR" ? `${out} is a file, expected a folder` : `${out}: ${error.message}`);
});
if (present.length > 0) fail(`${out} is not empty`);

const copies = [
  ...["index.html", "style.css", "icon.svg", "page.js", "worker.js"].map((name) => [path.join(PAGE, name), name]),
  // As .js and not .mjs: older web servers do not know that .mjs is JavaScript, and browsers then refuse it.
  ...["classifier", "bert", "bert-characters", "files", "options", "pairs"].map((name) => [
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
const contents = [];
for (const [from, to] of copies) contents.push([to, await content(from)]); // all is there before anything is written
const files = {};
for (const [to, found] of contents) {
  const bytes = to.startsWith("classifier/") ? withJs(found.toString("utf8")) : found;
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
  try {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, bytes);
  } catch (error) {
    fail(`${file} cannot be written: ${error.message}`);
  }
}

function content(file) {
  return readFile(file).catch((error) => {
    const advice = file.startsWith(LIBRARIES) ? `; run \`npm ci\` in ${HERE}` : "";
    return fail(`${file} cannot be read (${error.code})${advice}`);
  });
}

/** Where a path leads that need not exist: links of the folders that do are followed. */
async function place(file) {
  const found = await realpath(file).catch(() => null);
  if (found !== null || path.dirname(file) === file) return found ?? file;
  return path.join(await place(path.dirname(file)), path.basename(file));
}

function isWithin(folder, file) {
  const way = path.relative(folder, file);
  return way !== ".." && !way.startsWith(`..${path.sep}`) && !path.isAbsolute(way);
}

function withJs(source) {
  return Buffer.from(source.replaceAll(/"(\.\/[\w-]+)\.mjs"/g, '"$1.js"'));
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}
