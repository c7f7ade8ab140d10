/* A run: what its training came to, and the verdict on it. */

import { element } from "./element.js";

const number = (value) => value.toLocaleString("en");

/** The folder of a run, from the page. */
export function folder({ name }) {
  return `runs/${encodeURIComponent(name)}`;
}

/** Fill a section with the facts of a run, and the verdict on it where there is one. */
export function showRun(section, run, rules = []) {
  const { accuracy, accuracy_ci95: interval, epochs, record } = run;
  const figures = {
    [`of ${number(run.images)} ${run.holdout ? "held-out" : "test"} images; 95 % interval ${range(interval)}`]: percents(accuracy),
    parameters: number(run.parameters),
    [`epoch${epochs > 1 ? "s" : ""}, ${run.seconds.toFixed(1)} s of training`]: epochs,
  };
  if (record) figures[`mean of ${record.seeds} seeds; interval ${range(record.mean_ci95)}`] = percents(record.mean);
  section.replaceChildren(
    element("h2", {}, `The network: ${run.recipe}, seed ${run.seed}, on ${run.dataset}`),
    element("div", { className: "figures" }, ...Object.entries(figures).map(figure)),
    element("table", { className: "verdict" }, element("tbody", {}, ...rules.map(rule))),
  );
  if (run.files.includes("report.html")) {
    section.append(element("p", {}, element("a", { href: `${folder(run)}/report.html` }, "report")));
  }
  section.hidden = false;
}

const percents = (value) => `${value.toFixed(2)} %`;
const range = ([low, high]) => `${low.toFixed(2)} to ${high.toFixed(2)}`;

function figure([meaning, value]) {
  return element("div", {}, element("b", {}, value), element("span", {}, meaning));
}

function rule({ name, measured, passed }) {
  const mark = element("td", { className: passed ? "passed" : "failed" }, passed ? "✓" : "✗");
  return element("tr", {}, mark, element("td", {}, name), element("td", {}, measured));
}
