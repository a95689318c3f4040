const PAUSE = 60; // ms without a key before a text is answered
const SPOKEN_PAUSE = 900; // ms without a new answer before it is read out

const LONGEST_EXAMPLE = 75; // characters

const $ = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const number = new Intl.NumberFormat("en");

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
let facts = null;
let answering = false;
let next = null; // the newest text that is still to be answered; older ones are forgotten
let typing, speaking;

worker.onmessage = ({ data }) => {
  if (data.type === "loading") show(`Loading ${data.name} …`);
  if (data.type === "ready") start(data);
  if (data.type === "failed") fail(data.reason);
  if (data.type === "answer") {
    answering = false;
    if (next === null) showAnswer(data);
    else ask(next);
  }
};
worker.onerror = (event) => fail(event.message ?? "a script of this page cannot be loaded");

$("text").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => ask($("text").value), PAUSE);
});
$("late").remove();

function ask(text) {
  if (!facts) return;
  next = null;
  if (text.trim() === "") showNothing();
  else if (answering) next = text;
  else {
    answering = true;
    worker.postMessage(text);
  }
}

function start({ facts: found, difference }) {
  facts = found;
  document.title = `${facts.name}: text classifier`;
  $("name").textContent = facts.name;
  $("bars").replaceChildren(...facts.labels.map(emptyBar));
  $("examples").replaceChildren(...exampleTexts().map(exampleButton));
  showFacts(difference);
  showNothing();
  ask($("text").value);
}

function fail(reason) {
  facts = null;
  show(`This page cannot answer: ${reason}.`);
  $("headline").setAttribute("role", "alert");
  $("headline").classList.add("failed");
  $("bars").replaceChildren();
  $("text").disabled = true;
}

function show(headline, note = "", spoken = "") {
  $("headline").textContent = headline;
  $("note").textContent = note;
  clearTimeout(speaking);
  speaking = setTimeout(() => ($("spoken").textContent = spoken), SPOKEN_PAUSE);
}

function showNothing() {
  if (answering) next = ""; // its answer is no longer wanted
  show("Ready", "Type something, or take an example.");
  $("note").classList.remove("cut");
  setBars(() => null);
}

function showAnswer({ answer, milliseconds }) {
  const { label, score, probabilities, truncated } = answer;
  const end = facts.truncation_side === "left" ? "last" : "first";
  const cut = truncated ? `Only the ${end} ${facts.max_length} tokens of this text were read.` : "";
  show(label, `Answered in ${milliseconds.toFixed(1)} ms. ${cut}`, `${label}, ${percent.format(score)}. ${cut}`);
  $("note").classList.toggle("cut", truncated);
  setBars((name) => probabilities[name], label);
}

function emptyBar(label) {
  const row = element("li", { title: label });
  const track = element("span", { className: "track" }, element("span", { className: "fill" }));
  row.append(element("span", { className: "label" }, label), track, element("span", { className: "value" }));
  return row;
}

function setBars(probability, best) {
  [...$("bars").children].forEach((row, i) => {
    const p = probability(facts.labels[i]);
    row.classList.toggle("best", facts.labels[i] === best);
    row.querySelector(".fill").style.width = `${100 * (p ?? 0)}%`;
    row.querySelector(".value").textContent = p === null ? "–" : percent.format(p);
  });
}

/** The bundle's golden text that is the surest of each label, but no more than four. */
function exampleTexts() {
  const surest = new Map();
  for (const { text, probabilities } of facts.golden) {
    const score = Math.max(...probabilities);
    const label = probabilities.indexOf(score);
    if (text.length <= LONGEST_EXAMPLE && score > (surest.get(label)?.score ?? 0)) surest.set(label, { text, score });
  }
  return [...surest.values()].slice(0, 4).map(({ text }) => text);
}

function exampleButton(text) {
  const onclick = () => {
    clearTimeout(typing);
    $("text").value = text;
    ask(text);
  };
  return element("button", { type: "button", onclick }, text);
}

function showFacts(difference) {
  const { verified, files, golden, model_file, variant } = facts;
  const points = (100 * difference).toFixed(1);
  const megabytes = (files[model_file].bytes / 1e6).toFixed(1);
  const rows = [
    ["Accuracy", `${percent.format(verified.accuracy)} of ${number.format(verified.test_texts)} test texts`],
    ["Same label as PyTorch", `${percent.format(verified.agreement_with_pytorch)} of them`],
    ["Verdict", `${verified.reason}.`],
    ["Model", `${variant}, ${megabytes} MB, reads up to ${facts.max_length} tokens`],
    ["Files", "as verified: their SHA-256 was compared when this page was opened"],
  ];
  if (golden.length > 0) {
    const same = `the same labels as PyTorch for ${golden.length} golden texts, probabilities within ${points} points`;
    rows.push(["In this browser", same]);
  }
  $("facts").replaceChildren(...rows.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
  $("about").hidden = false;
}

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
