// The texts that an example is given on stdin: a JSON array of strings in UTF-8, whatever the console's encoding is. For a
// bundle that is given pairs of texts, an array of arrays of two strings.
import { buffer } from "node:stream/consumers";

import { isPair } from "./sentopt-classifier/pairs.mjs";

export async function textsOnStdin(pair = null) {
  const bytes = await buffer(process.stdin);
  const expected = pair ? `pairs of texts, [[${pair.join(", ")}], ...]` : "texts";
  let texts;
  try {
    texts = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    fail(`stdin must be a JSON array of ${expected} in UTF-8: ${error.message}`);
  }
  const fits = pair ? isPair : (text) => typeof text === "string";
  if (!Array.isArray(texts) || !texts.every(fits)) {
    fail(`stdin must be a JSON array of ${expected}, found ${JSON.stringify(texts).slice(0, 60)}`);
  }
  return texts;
}

export function fail(message, code = 1) {
  console.error(message.replaceAll(/\s*[\r\n]\s*/g, " ")); // one line, whatever a parser quotes
  process.exit(code);
}
