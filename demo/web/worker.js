// The model in a thread of its own, so that typing never waits for an answer.
//
// onnxruntime-web and the tokenizer alone: transformers.js brings the same two in five times as much script and twice as
// much WebAssembly.
import { Classifier } from "./classifier.js";
import * as ort from "./lib/onnxruntime.js";
import { Tokenizer } from "./lib/tokenizers.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain static server does not send

async function read(name) {
  postMessage({ type: "loading", name });
  const response = await fetch(new URL(name, import.meta.url), { cache: "no-cache" }).catch((error) => {
    throw new Error(`${name} cannot be fetched: ${error.message}`);
  });
  if (!response.ok) throw new Error(`${name} cannot be fetched: the server answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function load() {
  if (!self.crypto.subtle) {
    throw new Error("the files cannot be checked here: browsers compute SHA-256 on https and localhost addresses only");
  }
  if (typeof WebAssembly === "undefined") {
    throw new Error("this browser has WebAssembly switched off, and the model needs it");
  }
  ort.env.wasm.wasmBinary = await read("lib/ort-wasm-simd-threaded.wasm");
  const classifier = await Classifier.load((name) => read(`bundle/${name}`), { ort, Tokenizer });
  // INT8 is rounded otherwise in WebAssembly than where the bundle was verified: see whether that matters.
  return { classifier, difference: await classifier.checkGolden() };
}

try {
  const { classifier, difference } = await load();
  self.onmessage = async ({ data: text }) => {
    try {
      const start = performance.now();
      const answer = await classifier.classify(text);
      postMessage({ type: "answer", answer, milliseconds: performance.now() - start });
    } catch (error) {
      postMessage({ type: "failed", reason: error.message });
    }
  };
  postMessage({ type: "ready", facts: classifier.facts, difference });
} catch (error) {
  postMessage({ type: "failed", reason: error.message });
}
