/** For Node and Bun: a Classifier that reads folders, with onnxruntime-node, or onnxruntime-web where that is missing. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { Tokenizer } from "@huggingface/tokenizers";

import { Classifier as Core } from "./classifier.mjs";
import { OF_LOADING, checkedOptions } from "./options.mjs";

export { fetchedFrom } from "./files.mjs";

export class Classifier extends Core {
  static async load(bundle, options = {}) {
    checkedOptions("Classifier.load", options, OF_LOADING);
    const ort = options.ort ?? (await onnxruntime());
    return super.load(onDisk(bundle), { Tokenizer, ...options, ort });
  }
}

/** A reader of a folder; whatever is no folder stays what it is. */
function onDisk(bundle) {
  const address = bundle instanceof URL || (typeof bundle === "string" && /^https?:\/\//i.test(bundle));
  if (address && new URL(bundle).protocol !== "file:") return bundle;
  if (!address && typeof bundle !== "string") return bundle;
  const folder = bundle instanceof URL ? fileURLToPath(bundle) : bundle;
  return async (name) => {
    try {
      return await readFile(path.join(folder, name));
    } catch (error) {
      const advice = name === "sentopt.json" && error.code === "ENOENT" ? `: ${folder} is not a bundle` : "";
      throw new Error(`${path.join(folder, name)} cannot be read (${error.code})${advice}`, { cause: error });
    }
  };
}

async function onnxruntime() {
  try {
    return await import("onnxruntime-node");
  } catch (native) {
    return import("onnxruntime-web").catch(() => {
      throw new Error(`install onnxruntime-node or onnxruntime-web beside sentopt-classifier: ${native.message}`);
    });
  }
}
