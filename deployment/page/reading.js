/* What a network reads: its answer, its second guess, and a bar for the probability of each class. */

import { element } from "./element.js";

/** A probability as text. */
export function percent(probability, digits = 0) {
  return `${(100 * probability).toFixed(digits)} %`;
}

/** The log-odds of a probability; of 32 bits, a sure one may be 1. */
function logOdds(probability) {
  const bounded = Math.min(1 - 1e-6, Math.max(1e-6, probability));
  return Math.log(bounded / (1 - bounded));
}

/** What a network of these facts makes of one picture, by its outputs; of handwriting with the probability that it is a
 * `digit`. It is sure where both together say so, as deployment/network.py has it. */
export function judge({ classes, threshold }, outputs, digit) {
  const { probabilities } = outputs;
  const [best, second] = classes.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);
  const sure = logOdds(probabilities[best]) / 2 + (digit === undefined ? 0 : logOdds(digit)) >= threshold;
  const isNone = digit < 0.5;
  const told = (index) => `${classes[index]}, ${percent(probabilities[index])}`;
  const text = sure ? classes[best] : "?";
  const note = sure ? percent(probabilities[best]) : `perhaps ${classes[best]}`;
  return { outputs, probabilities, best, sure, isNone, text, note, first: told(best), then: told(second) };
}

export class Reading {
  /** `status` is a live region that holds `answer` and `note`; a bar's name is a button, which calls `named`. */
  constructor(status, answer, note, list, named) {
    Object.assign(this, { status, answer, note, list, named });
  }

  /** Whether what is shown is about to change: only what stays is read out. */
  set busy(value) {
    this.status.ariaBusy = value;
  }

  /** Have an empty bar for each class. */
  setClasses(classes) {
    this.bars = classes.map((name, index) => {
      const [fill, value] = [element("i"), element("b")];
      const button = element("button", { type: "button", title: `that was a ${name}`, disabled: true }, name);
      button.addEventListener("click", () => this.named(index));
      const row = element("li", {}, button, element("span", { className: "bar" }, fill), value);
      return { row, fill, value, button };
    });
    this.list.replaceChildren(...this.bars.map((bar) => bar.row));
  }

  /** Show what was read from left to right, and the bars of one; `more` is said at the end. */
  show(judged, chosen, more) {
    const { sure, isNone, first, then, best, probabilities } = judged[chosen];
    if (judged.length > 1) {
      this.say(judged.map(({ text }) => text).join(""), "best", judged.map(({ note }) => note).join(" · ") + more);
    } else if (sure) this.say(first, "best", `then ${then}${more}`);
    else this.say("?", "best", `perhaps ${first}; then ${then}${isNone ? "; or no digit" : ""}${more}`);
    this.bars.forEach(({ row, fill, value }, index) => {
      row.classList.toggle("best", index === best);
      fill.style.width = `${100 * probabilities[index]}%`;
      value.textContent = percent(probabilities[index], 1);
    });
  }

  /** Say something in the place of an answer, with no probabilities: "quiet", or why it "failed". */
  tell(text, kind = "quiet") {
    this.say(text, kind, "");
    this.nameable = false;
    for (const { row, fill, value } of this.bars ?? []) {
      row.classList.remove("best");
      fill.style.width = value.textContent = "";
    }
  }

  /** Whether the visitor may say which class it was. */
  set nameable(value) {
    for (const { button } of this.bars ?? []) button.disabled = !value;
  }

  say(text, kind, note) {
    this.answer.className = kind;
    if (this.answer.textContent !== text) this.answer.textContent = text;
    if (this.note.textContent !== note) this.note.textContent = note;
  }
}
