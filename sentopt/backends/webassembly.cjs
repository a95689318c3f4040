// Logits of a graph by onnxruntime-web's WebAssembly, for webassembly.py. One JSON object in on stdin, one out on stdout:
//
//   model    path of the ONNX file                     version  of onnxruntime-web
//   output   name of its output                        logits   one list per row
//   deferred name of a cascade's second output         deferred one boolean per row, or null where there is no such output
//   rows     { input name: numbers } of each text
const { readFileSync } = require("node:fs");

const asked = JSON.parse(readFileSync(0, "utf8"));
const ort = require(require.resolve("onnxruntime-web", { paths: [process.cwd()] }));
ort.env.wasm.numThreads = 1; // as in a page that a plain static server sends

async function main() {
  const session = await ort.InferenceSession.create(readFileSync(asked.model), { executionProviders: ["wasm"] });
  const isCascade = session.outputNames.includes(asked.deferred);
  const logits = [];
  const deferred = [];
  for (const row of asked.rows) {
    const tensor = (name) => new ort.Tensor("int64", BigInt64Array.from(row[name], BigInt), [1, row[name].length]);
    const feeds = Object.fromEntries(session.inputNames.map((name) => [name, tensor(name)]));
    const found = await session.run(feeds);
    logits.push([...found[asked.output].data]);
    if (isCascade) deferred.push(Boolean(found[asked.deferred].data[0]));
  }
  console.log(JSON.stringify({ version: ort.env.versions.web, logits, deferred: isCascade ? deferred : null }));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
