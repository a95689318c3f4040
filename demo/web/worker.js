// The model in a thread of its own, so that typing never waits for an answer.
//
// onnxruntime-web and the tokenizer alone: transformers.js brings the same two in five times as much script and twice as
// much WebAssembly.
const WASM = "lib/ort-wasm-simd-threaded.wasm";
const BUNDLE = "bundle/";

let classifier = null;

self.onmessage = async ({ data }) => {
  try {
    if (data.type === "load") postMessage({ type: "ready", ...(await load(data.timeout)) });
    if (data.type === "classify") postMessage({ type: "answer", ...(await timed(data.text)) });
  } catch (error) {
    postMessage({ type: "failed", reason: error.message });
  }
};

async function load(timeout) {
  refuseWhatCannotWork();
  const { fetchedFrom } = await script("classifier/files.js");
  const { Classifier } = await script("classifier/classifier.js");
  const { Tokenizer } = await script("lib/tokenizers.js");
  const ort = await script("lib/onnxruntime.js");

  const read = fetchedFrom(new URL(".", import.meta.url), { timeout });
  const sizes = JSON.parse(new TextDecoder().decode(await read("files.json")));
  const report = progress(sizes, [WASM, ...Object.keys(sizes).filter((name) => name.startsWith(BUNDLE))]);
  ort.env.wasm.numThreads = 1; // more need headers that a plain static server does not send
  ort.env.wasm.wasmBinary = await read(WASM, (bytes) => report(WASM, bytes));
  const inBundle = (name) => read(BUNDLE + name, (bytes) => report(BUNDLE + name, bytes));
  classifier = await Classifier.load(inBundle, { ort, Tokenizer });
  // INT8 is rounded otherwise in WebAssembly than where the bundle was verified: see whether that matters. A bundle of
  // long texts alone carries none to compare, and the page says so.
  let warning = "";
  if (classifier.facts.golden.length > 0) await classifier.checked((text) => (warning = text));
  const { facts, pair, thresholds } = classifier;
  return { facts: { ...facts, pair, thresholds }, warning };
}

async function timed(text) {
  const start = performance.now();
  const answer = await classifier.classify(text);
  return { answer, milliseconds: performance.now() - start };
}

function refuseWhatCannotWork() {
  if (!self.crypto.subtle) {
    throw new Error("the files cannot be checked here: browsers compute SHA-256 on https and localhost addresses only");
  }
  if (typeof WebAssembly === "undefined") {
    throw new Error("this browser has WebAssembly switched off, and the model needs it");
  }
  try {
    new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)); // the smallest module there is
  } catch {
    throw new Error(
      "the server's Content-Security-Policy forbids WebAssembly, and the model needs it: add 'wasm-unsafe-eval' to script-src",
    );
  }
}

async function script(name) {
  try {
    return await import(`./${name}`);
  } catch (error) {
    throw new Error(`${name} cannot be loaded: ${error.message}`, { cause: error });
  }
}

/** Tells the page the share that has arrived of all that is fetched. */
function progress(sizes, names) {
  const arrived = new Map();
  const total = names.reduce((sum, name) => sum + sizes[name].bytes, 0);
  return (name, bytes) => {
    arrived.set(name, bytes);
    postMessage({ type: "loading", name, share: [...arrived.values()].reduce((sum, n) => sum + n) / total });
  };
}
