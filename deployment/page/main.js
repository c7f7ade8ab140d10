/* The page: a drawing, or a mistake of the chosen run, read by the run's network. */

import { element } from "./element.js";
import { Mistakes } from "./mistakes.js";
import { load, loadRuntime, Network } from "./network.js";
import { Paper } from "./paper.js";
import { decode, paint } from "./picture.js";
import { Reading } from "./reading.js";
import { folder, showRun } from "./run.js";
import { rasterise, SIDE } from "./strokes.js";

const find = (id) => document.getElementById(id);
const reading = new Reading(find("status"), find("answer"), find("note"), find("bars"));
const paper = new Paper(find("paper"), drawn);
const mistakes = new Mistakes(find("mistakes"), opened);
const networks = new Map(); // by the name of their run

let run = null; // the one that is read with, once its facts are here
let wanted = ""; // the name of the one that was chosen last
let stale = false; // whether something has changed since it was read
let refreshing = false;

/** Whether a run reads digits, which have a size and a place in the picture; anything else fills it. */
function readsDigits() {
  return run.classes.every((name, index) => name === String(index));
}

function drawn() {
  const empty = !paper.strokes.length;
  find("hint").hidden = !empty;
  find("undo").disabled = find("clear").disabled = empty;
  mistakes.open = false;
  refresh();
}

function opened() {
  find("reading").scrollIntoView({ block: "nearest" });
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
      if (run) await read(run, networks.get(run.name));
    }
    reading.busy = paper.drawing || !networks.has(run?.name);
  } catch (error) {
    fail(error);
  } finally {
    refreshing = false;
  }
}

/** Show the picture that is there, and read it where the network is there too. */
async function read(asked, network) {
  const mistake = mistakes.open ? mistakes.current : null;
  const pixels = mistake ? decode(mistake.pixels) : drawing();
  paint(find("seen"), pixels);
  find("source").textContent = mistake ? `test image ${mistake.index}` : "what it sees";
  if (!network) return;
  const probabilities = pixels && (await network.read(pixels));
  if (asked !== run) return;
  if (pixels) reading.show(probabilities, mistake ? `; true class ${mistake.true}` : "");
  else reading.tell("nothing drawn yet");
}

/** The drawing as a network sees it; null of an empty paper. */
function drawing() {
  return paper.strokes.length ? rasterise(paper.strokes, readsDigits() ? 20 : SIDE) : null;
}

/** Change to the run that the address names, else to the first of the list. */
async function choose(names, runtime) {
  const name = names.find((each) => location.hash === `#${encodeURIComponent(each)}`) ?? names[0];
  wanted = find("run").value = name;
  run = null;
  try {
    const facts = await (await load(`${folder(name)}/run.json`)).json();
    if (name === wanted) show(facts);
    if (!networks.has(name)) networks.set(name, await Network.open(await runtime, `${folder(name)}/model.onnx`));
    if (name === wanted) refresh();
  } catch (error) {
    if (name === wanted) fail(error);
  }
}

function show(facts) {
  run = facts;
  reading.setClasses(run.classes);
  reading.tell("loading the network");
  find("hint").textContent = readsDigits() ? "Draw a digit" : "Draw a picture";
  mistakes.set(run);
  showRun(find("facts"), run);
  refresh();
}

function fail(error) {
  reading.tell(`${error.message}: reload the page, or try another browser`, "failed");
  reading.busy = false;
  find("mistakes").hidden = find("facts").hidden = !run;
}

function press(event) {
  if (event.target === find("run")) return;
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) paper.undo();
  else if (event.key === "Escape" || event.key === "Delete") paper.clear();
  else return;
  event.preventDefault();
}

async function start() {
  const { runs, runtime_bytes: bytes } = await (await load("runs.json")).json();
  const megabytes = (value) => Math.floor(value / 1e6);
  const runtime = loadRuntime(bytes, (arrived) => {
    if (run) reading.tell(`loading the network, ${megabytes(arrived)} of ${megabytes(bytes)} MB`);
  });
  find("run").replaceChildren(...runs.map((name) => element("option", { value: name }, name)));
  find("run").addEventListener("change", () => (location.hash = encodeURIComponent(find("run").value)));
  addEventListener("hashchange", () => choose(runs, runtime));
  await choose(runs, runtime);
}

find("undo").addEventListener("click", () => paper.undo());
find("clear").addEventListener("click", () => paper.clear());
document.addEventListener("keydown", press);
start().catch(fail);
