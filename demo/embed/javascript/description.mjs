// What a bundle says of itself, for the examples: whatever is wrong with it is said in one line.
import { readFile } from "node:fs/promises";
import path from "node:path";

import { described } from "./sentopt-classifier/classifier.mjs";
import { fail } from "./stdin.mjs";

/** The content of a JSON file of a bundle. */
export async function jsonOf(bundle, name) {
  const file = path.join(bundle, name);
  const text = await readFile(file, "utf8").catch((error) => {
    const absent = name === "sentopt.json" && ["ENOENT", "ENOTDIR"].includes(error.code);
    return fail(absent ? `${bundle} is not a bundle: it has no ${name}` : `${file} cannot be read (${error.code})`);
  });
  try {
    return JSON.parse(text);
  } catch (error) {
    return fail(`${file} cannot be read as JSON: ${error.message}`);
  }
}

/** The description of a bundle, checked. */
export async function descriptionOf(bundle) {
  return inWords(described, await jsonOf(bundle, "sentopt.json"));
}

/** What a function returns; the message of an error that it throws ends the program. */
export function inWords(check, ...values) {
  try {
    return check(...values);
  } catch (error) {
    return fail(error.message);
  }
}
