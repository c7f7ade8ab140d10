/* The page: a drawing, or a mistake of the chosen run, read by the run's network and by others beside it. */

import { addressOf, drawingOf, isNamed } from "./address.js";
import { element } from "./element.js";
import { Layers } from "./layers.js";
import { Mistakes } from "./mistakes.js";
import { load, loadRuntime, Network } from "./network.js";
import { Paper } from "./paper.js";
import { decode, paint } from "./picture.js";
import { judge, Reading } from "./reading.js";
import { Rivals, rivalsOf } from "./rivals.js";
import { digitsOf } from "./row.js";
import { folder, showRun } from "./run.js";
import { rasterise, SIDE } from "./strokes.js";

const find = (id) => document.getElementById(id);
const reading = new Reading(find("status"), find("answer"), find("note"), find("bars"), named);
const paper = new Paper(find("paper"), drawn);
const mistakes = new Mistakes(find("mistakes"), opened);
const layers = new Layers(find("layers"));
const rivals = new Rivals(find("rivals"));
const networks = new Map(); // by the name of their run, and "detector"; those that have arrived

let site = null; // what runs.json says
let run = null; // the one that is read with
let beside = []; // it and its rivals
let picked = null; // the digit of a row that was chosen; else the one drawn last is shown
let shown = -1; // the digit whose bars and maps are shown
let counted = new Set(); // the digits that the visitor has named
let stale = false; // whether something has changed since it was read
let refreshing = false;

function drawn() {
  const empty = !paper.strokes.length;
  find("hint").hidden = !empty;
  for (const id of ["undo", "clear", "share"]) find(id).disabled = empty;
  find("shared").textContent = "";
  mistakes.open = false;
  look();
}

function opened() {
  find("reading").scrollIntoView({ block: "nearest" });
  look();
}

/** Read something else than before. */
function look() {
  picked = null;
  counted = new Set();
  refresh();
}

/** Read what is there now: once a frame at most, one after the other. */
async function refresh() {
  stale = reading.busy = true;
  if (refreshing) return;
  refreshing = true;
  try {
    while (stale) {
      await new Promise(requestAnimationFrame);
      stale = false;
      if (run) await read(run);
    }
    reading.busy = paper.drawing || !isReady();
  } catch (error) {
    fail(error);
  } finally {
    refreshing = false;
  }
}

function isReady() {
  return run && networks.has(run.name) && (!run.reads_digits || networks.has("detector"));
}

/** Show the picture that is there, and read it where the network is there too. */
async function read(asked) {
  const mistake = mistakes.open ? mistakes.current : null;
  const digits = mistake ? [{ picture: decode(mistake.pixels) }] : drawnDigits();
  const last = digits.findIndex(({ last }) => last === paper.strokes.length - 1);
  shown = Math.min(picked ?? Math.max(last, 0), digits.length - 1);
  paint(find("seen"), digits[shown]?.picture);
  find("source").textContent = mistake ? `image ${mistake.index}` : "what it sees";
  if (!isReady()) return;
  const judged = await judgements(asked, digits.map(({ picture }) => picture));
  if (asked !== run) return;
  for (const { name } of beside) rivals.show(name, judged.get(name));
  if (digits.length) reading.show(judged.get(run.name), shown, mistake ? `; true class ${mistake.true}` : "");
  else reading.tell("nothing drawn yet");
  layers.show(digits.length ? judged.get(run.name)[shown].outputs : null);
  showDigits(mistake ? [] : digits, judged.get(run.name));
}

/** The drawing as a network sees it: digits side by side, each with its picture. What is not digits fills its one. */
function drawnDigits() {
  const { strokes } = paper;
  if (!strokes.length) return [];
  if (!run.reads_digits) return [{ picture: rasterise(strokes, SIDE), last: strokes.length - 1 }];
  return digitsOf(strokes).map((digit) => ({ ...digit, picture: rasterise(digit.strokes) }));
}

/** What each network beside each other makes of pictures, by the name of its run, with the values of its layers where
 * it is the one that was asked. */
async function judgements(asked, pictures) {
  const judged = new Map();
  if (!pictures.length) return judged;
  const kinds = asked.reads_digits ? await networks.get("detector").read(pictures) : [];
  for (const each of beside.filter(({ name }) => networks.has(name))) {
    const outputs = ["probabilities", ...(each === asked ? asked.layers : []).map(({ output }) => output)];
    const values = await networks.get(each.name).read(pictures, outputs);
    judged.set(each.name, values.map((value, index) => judge(each, value, kinds[index]?.probabilities[0])));
  }
  return judged;
}

/** Mark the digits of a row, on the paper and as buttons; a single one needs no mark. */
function showDigits(digits, judged) {
  const row = digits.length > 1 ? digits : [];
  const textOf = ({ sure, note, text }) => (sure ? note : text);
  paper.mark(row.map(({ box }, index) => ({ box, text: textOf(judged[index]), chosen: index === shown })));
  while (find("digits").children.length > row.length) find("digits").lastChild.remove();
  row.forEach((_, index) => {
    const button = find("digits").children[index] ?? find("digits").appendChild(element("button", { type: "button" }));
    Object.assign(button, { textContent: judged[index].text, ariaPressed: index === shown });
  });
  showCounted(digits.length > 0);
}

/** Ask the visitor what the digit was that is shown, or say that it was counted. */
function showCounted(isRead) {
  reading.nameable = isRead && !paper.drawing && !counted.has(shown);
  find("named").textContent = counted.has(shown) ? "Counted." : isRead ? "Was one fooled? Click what you drew." : "";
}

/** Look at another digit of the row. */
function pick({ target }) {
  if (target === find("digits")) return;
  picked = [...find("digits").children].indexOf(target);
  refresh();
}

/** The visitor has said which class the digit was that is shown. */
function named(index) {
  counted.add(shown);
  rivals.name(shown, index);
  showCounted(true);
}

/** Change to the run that the address names, else to the first of the list, and to the drawing that it holds. */
async function choose(runtime) {
  const chosen = (run = site.runs.find(isNamed) ?? site.runs[0]);
  show();
  paper.change(drawingOf() ?? paper.strokes);
  try {
    if (run.files.includes("page.json")) {
      const page = await (await load(`${folder(run)}/page.json`)).json();
      if (chosen !== run) return;
      mistakes.set(run, page.mistakes);
      showRun(find("facts"), run, page.rules);
    }
    const places = { [run.name]: folder(run), ...(run.reads_digits && { detector: "detector" }) };
    for (const each of beside) places[each.name] = folder(each);
    for (const [name, place] of Object.entries(places).filter(([name]) => !networks.has(name))) {
      networks.set(name, await Network.open(await runtime, `${place}/model.onnx`));
      if (chosen === run) refresh();
    }
  } catch (error) {
    if (chosen === run) fail(error);
  }
}

/** Show what is known of the run before its network is here. */
function show() {
  beside = rivalsOf(site.runs, run);
  find("run").value = run.name;
  find("hint").textContent = run.reads_digits ? "Draw a digit, or several" : "Draw a picture";
  reading.setClasses(run.classes);
  reading.tell("loading the network");
  rivals.set(beside, run);
  layers.set(run.layers);
  mistakes.set(run);
  showRun(find("facts"), run);
}

function fail(error) {
  reading.tell(`${error.message}: reload the page, or try another browser`, "failed");
  reading.busy = false;
}

/** Put the drawing into the address. */
async function share() {
  history.replaceState(null, "", addressOf(run, paper.strokes));
  const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  find("shared").textContent = `The address holds your drawing${copied ? ", and is copied" : ""}.`;
}

function press(event) {
  if (event.target === find("run")) return;
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) paper.undo();
  else if (event.key === "Escape" || event.key === "Delete") paper.clear();
  else return;
  event.preventDefault();
}

async function start() {
  site = await (await load("runs.json")).json();
  const megabytes = (value) => Math.floor(value / 1e6);
  const runtime = loadRuntime(site.runtime_bytes, (arrived) => {
    if (find("answer").className === "failed") return;
    reading.tell(`loading the network, ${megabytes(arrived)} of ${megabytes(site.runtime_bytes)} MB`);
  });
  if (site.source) find("lead").append(" ", element("a", { href: site.source }, "Source"));
  find("run").replaceChildren(...site.runs.map(({ name }) => element("option", { value: name }, name)));
  find("run").addEventListener("change", () => (location.hash = addressOf({ name: find("run").value })));
  addEventListener("hashchange", () => choose(runtime));
  await choose(runtime);
}

find("undo").addEventListener("click", () => paper.undo());
find("clear").addEventListener("click", () => paper.clear());
find("share").addEventListener("click", share);
find("digits").addEventListener("click", pick);
document.addEventListener("keydown", press);
start().catch(fail);
