/* A run: what its training came to, and the verdict on it. */

import { element } from "./element.js";

const number = (value) => value.toLocaleString("en");

/** The folder of a run, from the page. */
export function folder(name) {
  return `runs/${encodeURIComponent(name)}`;
}

/** Fill a section with the facts of a run. */
export function showRun(section, run) {
  const [low, high] = run.accuracy_ci95.map((value) => value.toFixed(2));
  const figures = {
    [`of ${number(run.images)} test images; 95 % interval ${low} to ${high}`]: `${run.accuracy.toFixed(2)} %`,
    parameters: number(run.parameters),
    [`epoch${run.epochs > 1 ? "s" : ""}, ${run.seconds.toFixed(1)} s of training`]: run.epochs,
  };
  section.replaceChildren(
    element("h2", {}, `The network: ${run.recipe}, seed ${run.seed}, on ${run.dataset}`),
    element("div", { className: "figures" }, ...Object.entries(figures).map(figure)),
    element("table", { className: "verdict" }, element("tbody", {}, ...run.rules.map(rule))),
    ...(run.report ? [element("p", {}, element("a", { href: `${folder(run.name)}/report.html` }, "report"))] : []),
  );
  section.hidden = false;
}

function figure([meaning, value]) {
  return element("div", {}, element("b", {}, value), element("span", {}, meaning));
}

function rule({ name, measured, passed }) {
  const mark = element("td", { className: passed ? "passed" : "failed" }, passed ? "✓" : "✗");
  return element("tr", {}, mark, element("td", {}, name), element("td", {}, measured));
}
