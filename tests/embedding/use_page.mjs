// Use the web page as a person does, in headless Chromium. One JSON object in on stdin, one out on stdout:
//
//   chromium    path of the browser                        headline    what the page says when it has loaded, or failed
//   arguments   more of the browser's arguments            disabled    whether its text box is disabled
//   url         address of the page                        facts       what it says of the model
//   texts       to be typed, one after the other;          answers     { headline, note, probabilities, marked } of each
//               pairs of them where the page takes two
//   screenshots folder for pictures, or null               console     warnings, errors and exceptions
//                                                          requests    addresses that were fetched
//                                                          firstAnswer milliseconds from the visit to the first answer
import { createRequire } from "node:module";
import path from "node:path";
import { json } from "node:stream/consumers";

const require = createRequire(new URL("../../demo/embed/javascript/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const QUIET = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const LOOKS = {
  light: { colorScheme: "light", viewport: { width: 1000, height: 800 } },
  dark: { colorScheme: "dark", viewport: { width: 1000, height: 800 } },
  narrow: { colorScheme: "light", viewport: { width: 375, height: 800 } },
};

const asked = await json(process.stdin);
const browser = await chromium.launch({ executablePath: asked.chromium, args: [...QUIET, ...asked.arguments] });
const found = { console: [], requests: [], answers: [] };
try {
  const start = performance.now();
  const page = await open(LOOKS.light);
  found.headline = await page.locator("#headline").textContent();
  found.disabled = await page.locator("#text").isDisabled();
  found.facts = await page.locator("#facts").textContent();
  found.examples = await page.locator("#examples button").allTextContents();
  for (const text of asked.texts) {
    found.answers.push(await answer(page, text));
    found.firstAnswer ??= performance.now() - start;
  }
  if (!found.disabled) found.hurried = await hurried(page);
  for (const look of asked.screenshots ? Object.keys(LOOKS) : []) {
    const page = await open(LOOKS[look]);
    if (asked.texts.length > 0) await answer(page, asked.texts[0]);
    await page.waitForTimeout(500); // the bars are still growing
    await page.screenshot({ path: path.join(asked.screenshots, `${look}.png`), fullPage: true });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    if (wider) throw new Error(`the page is wider than the window: ${look}`);
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(found));

async function open(look) {
  const page = await (await browser.newContext(look)).newPage();
  page.on("console", (message) => found.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => found.console.push(`exception: ${error.message}`));
  page.on("request", (request) => found.requests.push(request.url()));
  await page.goto(asked.url);
  await page.waitForFunction(() => /^Ready|cannot answer/.test(document.querySelector("#headline").textContent));
  return page;
}

async function answer(page, text) {
  const [first, second] = [text].flat();
  await page.fill("#text", "");
  await page.waitForFunction(() => document.querySelector("#headline").textContent === "Ready");
  if (second !== undefined) await page.fill("#pair", second);
  await page.fill("#text", first);
  await page.waitForFunction(() => document.querySelector("#headline").textContent !== "Ready");
  return shown(page);
}

/** An example by keyboard alone, then a text typed faster than it can be answered: the last state must win. */
async function hurried(page) {
  await page.fill("#text", "");
  await page.focus("#text");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.focus("#text");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("great, terrible, great, terrible, great, terrible, great", { delay: 15 });
  await page.waitForTimeout(1500);
  const pair = (await page.locator("#pair").isVisible()) ? await page.inputValue("#pair") : undefined;
  return { text: await page.inputValue("#text"), pair, ...(await shown(page)) };
}

function shown(page) {
  return page.evaluate(() => ({
    headline: document.querySelector("#headline").textContent,
    note: document.querySelector("#note").textContent,
    marked: [...document.querySelectorAll("#bars .best .label")].map((label) => label.textContent),
    probabilities: Object.fromEntries(
      [...document.querySelectorAll("#bars li")].map((row) => [
        row.querySelector(".label").textContent,
        parseFloat(row.querySelector(".fill").style.width) / 100,
      ]),
    ),
  }));
}
