/** The options of calls: an unknown name and a value of another type are refused, for both are ignored otherwise. */

/** The longest wait of `setTimeout`; a longer one would end after 1 ms. */
export const LONGEST_WAIT = 2 ** 31 - 1;

const CACHES = ["default", "no-store", "reload", "no-cache", "force-cache", "only-if-cached"];

const isNumber = (value, lowest, highest) => Number.isFinite(value) && value >= lowest && value <= highest;
const isWhole = (value, lowest) => Number.isSafeInteger(value) && value >= lowest;
const isFunction = (value) => typeof value === "function";
const isBoolean = (value) => typeof value === "boolean";
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isSignal = (value) => isBoolean(value?.aborted) && isFunction(value.addEventListener);

const boolean = [isBoolean, "true or false"];
const aFunction = [isFunction, "a function"];

/** What `fetchedFrom` takes: for each option whether a value fits, and the words for it. */
export const OF_FETCHES = {
  timeout: [(value) => isNumber(value, 1, LONGEST_WAIT), `a number of milliseconds from 1 to ${LONGEST_WAIT}`],
  retries: [(value) => isWhole(value, 0), "a whole number from 0"],
  pause: [(value) => isNumber(value, 0, LONGEST_WAIT), `a number of milliseconds from 0 to ${LONGEST_WAIT}`],
  cache: [(value) => CACHES.includes(value), `one of ${CACHES.join(", ")}`],
  signal: [isSignal, "an AbortSignal"],
};

/** What `Classifier.load` takes. `ort` and `Tokenizer` are looked at where they are needed. */
export const OF_LOADING = {
  ...OF_FETCHES,
  ort: [() => true, ""],
  Tokenizer: [() => true, ""],
  check: boolean,
  fallback: boolean,
  sessionOptions: [isObject, "an object"],
  onProgress: aFunction,
  onWarning: aFunction,
};

export const OF_MANY_TEXTS = { batchSize: [(value) => isWhole(value, 1), "a whole number from 1"] };

/** `options`, if each of them is in `known` and its value fits; what is undefined counts as not given. */
export function checkedOptions(call, options, known) {
  if (!isObject(options)) throw new TypeError(`the options of ${call} must be an object, found ${named(options)}`);
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) {
      const names = Object.keys(known).join(", ");
      throw new TypeError(`${call} has no option ${JSON.stringify(name)}; its options are ${names}`);
    }
    const [fits, expected] = known[name];
    if (value !== undefined && !fits(value)) throw new TypeError(`${name} must be ${expected}, found ${named(value)}`);
  }
  return options;
}

/** A value as messages name it. */
export function named(value) {
  if (value === null || ["undefined", "number", "boolean"].includes(typeof value)) return String(value);
  if (typeof value === "string") return "one string";
  return Array.isArray(value) ? "an array" : `a value of type ${typeof value}`;
}
