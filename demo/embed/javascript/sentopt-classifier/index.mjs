/** For browsers and bundlers: a Classifier that brings onnxruntime-web's WebAssembly and the tokenizer along. */
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-web/wasm";

import { Classifier as Core } from "./classifier.mjs";
import { OF_LOADING, checkedOptions } from "./options.mjs";

export { fetchedFrom } from "./files.mjs";

export class Classifier extends Core {
  static async load(bundle, options = {}) {
    return super.load(bundle, { ort, Tokenizer, ...checkedOptions("Classifier.load", options, OF_LOADING) });
  }
}
