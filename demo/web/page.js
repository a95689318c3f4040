const PAUSE = 60; // ms without a key before a text is answered
const SPOKEN_PAUSE = 900; // ms without a new answer before it is read out

const LONGEST_EXAMPLE = 75; // characters

const $ = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const number = new Intl.NumberFormat("en");

const timeout = 1000 * Number(document.documentElement.dataset.timeout); // ms without a byte of a file

let worker = null;
let facts = null;
let answering = false;
let next = null; // the newest text that is still to be answered; older ones are forgotten
let typing, speaking;

const heard = {
  loading: ({ name, share }) => showLoading(name, share),
  ready: start,
  failed: ({ reason }) => fail(reason),
  answer: (data) => {
    answering = false;
    if (next === null) showAnswer(data);
    else ask(next);
  },
};

load();
$("again").addEventListener("click", load);
for (const id of ["text", "pair"]) {
  $(id).addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => ask(typed()), PAUSE);
  });
}
$("late").remove();

/** What is typed: the text, or both texts where the model is given two. */
function typed() {
  return facts?.pair ? [$("text").value, $("pair").value] : $("text").value;
}

function ask(text) {
  if (!facts) return;
  next = null;
  if ([text].flat().some((one) => one.trim() === "")) showNothing();
  else if (answering) next = text;
  else {
    answering = true;
    worker.postMessage({ type: "classify", text });
  }
}

/** Start a worker, instead of one that failed. */
function load() {
  worker?.terminate();
  answering = false;
  $("headline").removeAttribute("role");
  $("headline").classList.remove("failed");
  $("again").hidden = true;
  for (const id of ["text", "pair"]) $(id).disabled = false;
  show("Loading …");
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => heard[data.type](data);
  worker.onerror = (event) => fail(event.message ?? "worker.js cannot be loaded");
  worker.postMessage({ type: "load", timeout });
}

function start({ facts: found, warning }) {
  facts = found;
  document.title = `${facts.name}: text classifier`;
  $("name").textContent = facts.name;
  $("progress").hidden = true;
  $("bars").replaceChildren(...facts.labels.map(emptyBar));
  $("examples").replaceChildren(...exampleTexts().map(exampleButton));
  const [text, pair] = [...document.querySelectorAll("label")];
  for (const part of [pair, $("pair")]) part.hidden = !facts.pair;
  if (facts.pair) [text.textContent, pair.textContent] = facts.pair;
  showFacts(warning);
  showNothing();
  ask(typed());
  keepOffline();
}

function fail(reason) {
  worker.terminate(); // it may still report what it fetches
  facts = null;
  show(`This page cannot answer: ${reason}.`);
  $("headline").setAttribute("role", "alert");
  $("headline").classList.add("failed");
  $("progress").hidden = true;
  $("again").hidden = false;
  $("bars").replaceChildren();
  for (const id of ["text", "pair"]) $(id).disabled = true;
}

function showLoading(name, share) {
  show(`Loading ${percent.format(Math.min(share, 1)).replace(/\.\d/, "")}`, name);
  $("progress").hidden = false;
  $("progress").value = share;
}

/** Keep the page for visits without a network. Where that is not possible it works all the same. */
async function keepOffline() {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register(new URL("service-worker.js", import.meta.url));
    await navigator.serviceWorker.ready;
    showFact("Offline", "this browser keeps the page: it opens without a network");
  } catch (error) {
    console.info(`this page is not kept for visits without a network: ${error.message}`);
  }
}

function show(headline, note = "", spoken = "") {
  $("headline").textContent = headline;
  $("note").textContent = note;
  clearTimeout(speaking);
  speaking = setTimeout(() => ($("spoken").textContent = spoken), SPOKEN_PAUSE);
}

function showNothing() {
  if (answering) next = ""; // its answer is no longer wanted
  show("Ready", facts.pair ? "Type both texts, or take an example." : "Type something, or take an example.");
  $("note").classList.remove("cut");
  setBars(() => null);
}

function showAnswer({ answer, milliseconds }) {
  const { label, score, probabilities, truncated, labels } = answer;
  const end = facts.truncation_side === "left" ? "last" : "first";
  const cut = truncated ? `Only the ${end} ${facts.max_length} tokens of this text were read.` : "";
  const told = labels.join(", ") || "No label";
  const spoken = facts.thresholds ? told : `${label}, ${percent.format(score)}`;
  show(told, `Answered in ${milliseconds.toFixed(1)} ms. ${cut}`, `${spoken}. ${cut}`);
  $("note").classList.toggle("cut", truncated);
  setBars((name) => probabilities[name], labels);
}

/** The bar of a label; where texts have any number of labels, with a mark from where on they have this one. */
function emptyBar(label, i) {
  const threshold = facts.thresholds?.[i];
  const row = element("li", { title: threshold === undefined ? label : `${label}, from ${percent.format(threshold)} on` });
  const track = element("span", { className: "track" }, element("span", { className: "fill" }));
  if (threshold !== undefined) {
    const mark = element("span", { className: "threshold" });
    mark.style.left = `${100 * threshold}%`;
    track.append(mark);
  }
  row.append(element("span", { className: "label" }, label), track, element("span", { className: "value" }));
  return row;
}

function setBars(probability, best = []) {
  [...$("bars").children].forEach((row, i) => {
    const p = probability(facts.labels[i]);
    row.classList.toggle("best", best.includes(facts.labels[i]));
    row.querySelector(".fill").style.width = `${100 * (p ?? 0)}%`;
    row.querySelector(".value").textContent = p === null ? "–" : percent.format(p);
  });
}

/** The bundle's golden text that is the surest of each label, but no more than four. */
function exampleTexts() {
  const surest = new Map();
  for (const { text: first, pair, probabilities } of facts.golden) {
    const text = facts.pair ? [first, pair] : first;
    const score = Math.max(...probabilities);
    const label = probabilities.indexOf(score);
    const shown = inOneLine(text).length <= LONGEST_EXAMPLE && [text].flat().every((one) => one.trim() !== "");
    if (shown && score > (surest.get(label)?.score ?? 0)) surest.set(label, { text, score });
  }
  return [...surest.values()].slice(0, 4).map(({ text }) => text);
}

function exampleButton(text) {
  const onclick = () => {
    clearTimeout(typing);
    [$("text").value, $("pair").value] = facts.pair ? text : [text, ""];
    ask(text);
  };
  return element("button", { type: "button", onclick }, inOneLine(text));
}

function inOneLine(text) {
  return [text].flat().join(" · ");
}

function showFacts(warning) {
  const { verified, files, golden, model_file, variant } = facts;
  const megabytes = (files[model_file].bytes / 1e6).toFixed(1);
  $("facts").replaceChildren();
  const [right, same] = facts.thresholds ? ["All labels right", "Same labels"] : ["Accuracy", "Same label"];
  showFact(right, `${percent.format(verified.accuracy)} of ${number.format(verified.test_texts)} test texts`);
  showFact(`${same} as PyTorch`, `${percent.format(verified.agreement_with_pytorch)} of them`);
  showFact("Verdict", `${verified.reason}.`);
  showFact("Model", `${variant}, ${megabytes} MB, reads up to ${facts.max_length} tokens`);
  showFact("Files", "as verified: their SHA-256 was compared when this page was opened");
  const compared = `the same labels as PyTorch for ${golden.length} golden texts`;
  showFact("In this browser", golden.length > 0 ? compared : "not compared: the bundle carries no golden texts");
  if (warning) showFact("Scores", `${warning}.`);
  $("about").hidden = false;
}

function showFact(term, text) {
  $("facts").append(element("dt", {}, term), element("dd", {}, text));
}

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
