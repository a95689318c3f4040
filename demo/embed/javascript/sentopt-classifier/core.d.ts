/** What is classified: a text, or `[first, second]` where the bundle's model is given two (`Classifier.pair`). */
export type Text = string | readonly [first: string, second: string];

/** The answer for one text, or for one pair. */
export interface Prediction {
  /** The most probable label. */
  label: string;
  /** Its probability. */
  score: number;
  /** The probability of every label, by name. */
  probabilities: Record<string, number>;
  /** Whether the text was longer than the model reads and was cut. */
  truncated: boolean;
  /** `label` alone; of a multi-label model all labels that reach their thresholds, the most probable first, or none. */
  labels: string[];
}

/** What the golden texts of a bundle say of the runtime that answers them. */
export interface GoldenCheck {
  /** How many golden texts there are. */
  texts: number;
  /** Those that get another label, or other labels, than PyTorch gave them. */
  changed: Text[];
  /** The largest difference of a probability from PyTorch's. */
  largest: number;
  /** The largest difference that was expected of this runtime. */
  allowed: number;
  /** Whether `largest` exceeds `allowed`: the labels hold, scores are less exact. */
  moved: boolean;
}

/** Bytes of the bundle's files that have arrived. */
export interface Progress {
  file: string;
  loaded: number;
  total: number;
}

export type Bytes = Uint8Array | ArrayBuffer;

/** Returns the bytes of a file of the bundle; tells `onBytes`, if it likes, how many have arrived so far. */
export type Reader = (name: string, onBytes?: (bytes: number) => void) => Promise<Bytes>;

/** An address to fetch from (in Node also a folder), the files' bytes by name, or a function that reads a file. */
export type BundleSource = string | URL | Reader | Map<string, Bytes> | Record<string, Bytes>;

/** What is used of onnxruntime-node and onnxruntime-web. */
export interface Onnxruntime {
  InferenceSession: { create(model: Uint8Array, options?: object): Promise<unknown> };
  Tensor: new (...parameters: never[]) => unknown;
}

export interface FetchOptions {
  /** Milliseconds without a byte after which a transfer is given up, from 1 to 2^31 - 1; 30,000 if not set. */
  timeout?: number;
  /** How often a broken, stalled or refused (408, 429, from 500) transfer is tried again; 2 if not set. */
  retries?: number;
  /** Milliseconds before the first of these attempts; the pause doubles. 500 if not set. */
  pause?: number;
  /** The cache mode of `fetch`; "no-cache" if not set: a copy is used after the server has said that it is current. */
  cache?: RequestCache;
  /** Ends loading with the signal's reason. */
  signal?: AbortSignal;
}

export interface LoadOptions extends FetchOptions {
  /** The module onnxruntime-node or onnxruntime-web. */
  ort: Onnxruntime;
  /** `Tokenizer` of @huggingface/tokenizers. */
  Tokenizer: new (tokenizer: object, config: object) => unknown;
  /** Answer the golden texts: an error if a label differs, a warning if probabilities moved further than expected. */
  check?: boolean;
  /** Take the FP32 graph that the bundle carries beside an INT8 one. */
  fallback?: boolean;
  /** Passed to `InferenceSession.create`: execution providers, threads. */
  sessionOptions?: object;
  /** Called as files arrive. */
  onProgress?: (progress: Progress) => void;
  /** Hears the warning of `check`; `console.warn` if not set. */
  onWarning?: (warning: string) => void;
}

export class Classifier {
  /**
   * Load a bundle after comparing each file that is used with its recorded SHA-256.
   *
   * @throws an Error that names the file that is missing, damaged or malformed, or the golden text with another label;
   * a TypeError for an option that is not known or has another type.
   */
  static load(bundle: BundleSource, options: LoadOptions): Promise<Classifier>;

  protected constructor();

  /** The content of sentopt.json. */
  readonly facts: Readonly<Record<string, any>>;
  /** The names of the labels, in the order of the logits. */
  readonly labels: string[];

  /** The names of the two texts that the model is given; null: it is given one text. */
  readonly pair: readonly [string, string] | null;
  /** Of a multi-label model, by label: the probability from which on a text has it. Null: each text has one label. */
  readonly thresholds: number[] | null;

  /** @throws TypeError if `text` is no string, or no pair of strings where the model is given two texts. */
  classify(text: Text): Promise<Prediction>;

  /**
   * The answers in the order of `texts`, all of one kind. Texts of similar length are run together, `batchSize` at a time
   * (16 if not set).
   *
   * @throws TypeError as `classify`.
   */
  classifyAll(texts: Iterable<string> | Iterable<readonly [string, string]>, options?: { batchSize?: number }): Promise<Prediction[]>;

  /**
   * Answer the bundle's golden texts and compare with PyTorch.
   *
   * @throws an Error if the bundle carries none.
   */
  checkGolden(): Promise<GoldenCheck>;

  /** Free the model's memory, once what is being answered is answered. Later calls are refused. */
  dispose(): Promise<void>;
}

/**
 * A reader of the files below an address, with time-out and retries.
 *
 * @throws TypeError for an option that is not known or has another type.
 */
export function fetchedFrom(base: string | URL, options?: FetchOptions): Reader;
