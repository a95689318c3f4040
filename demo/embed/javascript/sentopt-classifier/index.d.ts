import { Classifier as Core, LoadOptions, BundleSource } from "./core.js";

export * from "./core.js";

/**
 * A bundle's classifier. In Node and Bun it reads folders and takes onnxruntime-node, or onnxruntime-web where that is not
 * installed; elsewhere it fetches from an address and takes onnxruntime-web.
 */
export class Classifier extends Core {
  static load(bundle: BundleSource, options?: Partial<LoadOptions>): Promise<Classifier>;
}
