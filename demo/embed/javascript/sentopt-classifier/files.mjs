/** Where the files of a bundle come from: a server, memory, or the caller's own function. */
import { LONGEST_WAIT, OF_FETCHES, checkedOptions } from "./options.mjs";

/** A function (name, onBytes) => Promise<Uint8Array>; `onBytes` hears how many bytes of the file have arrived. */
export function readerOf(bundle, options = {}) {
  if (typeof bundle === "function") return (name, onBytes) => read(bundle, name, onBytes);
  if (typeof bundle === "string" || bundle instanceof URL) return fetchedFrom(bundle, ofFetches(options));
  if (bundle !== null && typeof bundle === "object") {
    const files = bundle instanceof Map ? bundle : new Map(Object.entries(bundle));
    return (name) => read((name) => files.get(name), name);
  }
  throw new TypeError(
    "a bundle is the address of its folder, its files' bytes by name, or an async function that returns the bytes of a " +
      `file; found ${bundle === null ? "null" : typeof bundle}`,
  );
}

/** The options of fetching among those of loading. */
function ofFetches(options) {
  return Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(OF_FETCHES, name)));
}

async function read(source, name, onBytes) {
  const bytes = await source(name, onBytes);
  if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes);
  if (!ArrayBuffer.isView(bytes)) throw new Error(`${name} of the bundle: expected its bytes, found ${typeof bytes}`);
  return bytes;
}

/**
 * A reader of the files below an address.
 *
 * A transfer that gets no byte for `timeout` milliseconds is given up. What a second attempt may cure (a broken
 * connection, a stalled one, status 408, 429 and from 500) is tried `retries` times again, after a pause that doubles.
 */
export function fetchedFrom(base, options = {}) {
  checkedOptions("fetchedFrom", options, OF_FETCHES);
  const { timeout = 30_000, retries = 2, pause = 500, cache = "no-cache", signal } = options;
  const folder = String(base).endsWith("/") ? String(base) : `${base}/`;
  const root = globalThis.location ? new URL(folder, globalThis.location.href) : new URL(folder);
  return async (name, onBytes = () => {}) => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await fetched(new URL(name, root), { timeout, cache, signal, onBytes });
      } catch (error) {
        signal?.throwIfAborted();
        if (attempt >= retries || error.final) {
          throw new Error(`${name} cannot be fetched: ${error.message}`, { cause: error });
        }
        await new Promise((resolve) => setTimeout(resolve, Math.min(pause * 2 ** attempt, LONGEST_WAIT)));
      }
    }
  };
}

async function fetched(address, { timeout, cache, signal, onBytes }) {
  const stalled = new AbortController();
  const giveUp = () => stalled.abort(new Error(`no byte arrived for ${timeout / 1000} s`));
  let timer = setTimeout(giveUp, timeout);
  try {
    const together = signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal;
    const response = await fetch(address, { cache, signal: together });
    if (!response.ok) {
      const final = response.status < 500 && ![408, 429].includes(response.status);
      throw Object.assign(new Error(`the server answered ${response.status}`), { final });
    }
    const chunks = [];
    let length = 0;
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(giveUp, timeout);
      chunks.push(part.value);
      length += part.value.length;
      onBytes(length);
    }
    return joined(chunks, length);
  } catch (error) {
    throw stalled.signal.aborted ? stalled.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

function joined(chunks, length) {
  const bytes = new Uint8Array(length);
  let position = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, position);
    position += chunk.length;
  }
  return bytes;
}
