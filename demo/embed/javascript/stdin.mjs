// The texts that an example is given on stdin: a JSON array of strings in UTF-8, whatever the console's encoding is.
import { buffer } from "node:stream/consumers";

export async function textsOnStdin() {
  const bytes = await buffer(process.stdin);
  let texts;
  try {
    texts = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    fail(`stdin must be a JSON array of texts in UTF-8: ${error.message}`);
  }
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === "string")) {
    fail(`stdin must be a JSON array of texts, found ${JSON.stringify(texts).slice(0, 60)}`);
  }
  return texts;
}

export function fail(message, code = 1) {
  console.error(message.replaceAll(/\s*[\r\n]\s*/g, " ")); // one line, whatever a parser quotes
  process.exit(code);
}
