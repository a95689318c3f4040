// Logits of a graph by onnxruntime-web's WebAssembly, for webassembly.py. One JSON object in on stdin, one out on stdout:
//
//   model    path of the ONNX file                     version  of onnxruntime-web
//   output   name of its output                        logits   one list per row
//   rows     { input name: numbers } of each text
const { readFileSync } = require("node:fs");

const asked = JSON.parse(readFileSync(0, "utf8"));
const ort = require(require.resolve("onnxruntime-web", { paths: [process.cwd()] }));
ort.env.wasm.numThreads = 1; // as in a page that a plain static server sends

async function main() {
  const session = await ort.InferenceSession.create(readFileSync(asked.model), { executionProviders: ["wasm"] });
  const logits = [];
  for (const row of asked.rows) {
    const tensor = (name) => new ort.Tensor("int64", BigInt64Array.from(row[name], BigInt), [1, row[name].length]);
    const feeds = Object.fromEntries(session.inputNames.map((name) => [name, tensor(name)]));
    logits.push([...(await session.run(feeds))[asked.output].data]);
  }
  console.log(JSON.stringify({ version: ort.env.versions.web, logits }));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
