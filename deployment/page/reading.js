/* What a network reads in a picture: its answer, the runner-up, and a bar for the probability of each class. */

import { element } from "./element.js";

/** A probability as text. */
export function percent(probability, digits = 0) {
  return `${(100 * probability).toFixed(digits)} %`;
}

export class Reading {
  /** `status` is a live region that holds `answer` and `note`. */
  constructor(status, answer, note, list) {
    Object.assign(this, { status, answer, note, list });
  }

  /** Whether what is shown is about to change: only what stays is read out. */
  set busy(value) {
    this.status.ariaBusy = value;
  }

  /** Have an empty bar for each class. */
  setClasses(classes) {
    this.classes = classes;
    this.bars = classes.map((name) => {
      const [fill, value] = [element("i"), element("b")];
      const row = element("li", {}, element("span", {}, name), element("span", { className: "bar" }, fill), value);
      return { row, fill, value };
    });
    this.list.replaceChildren(...this.bars.map((bar) => bar.row));
  }

  /** Show a probability for each class; `more` is said after the runner-up. */
  show(probabilities, more = "") {
    const [best, second] = probabilities.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);
    const told = (index) => `${this.classes[index]}, ${percent(probabilities[index])}`;
    this.say(told(best), "best", `then ${told(second)}${more}`);
    this.bars.forEach(({ row, fill, value }, index) => {
      row.classList.toggle("best", index === best);
      fill.style.width = `${100 * probabilities[index]}%`;
      value.textContent = percent(probabilities[index], 1);
    });
  }

  /** Say something in the place of an answer, with no probabilities: "quiet", or why it "failed". */
  tell(text, kind = "quiet") {
    this.say(text, kind, "");
    for (const { row, fill, value } of this.bars ?? []) {
      row.classList.remove("best");
      fill.style.width = value.textContent = "";
    }
  }

  say(text, kind, note) {
    this.answer.className = kind;
    if (this.answer.textContent !== text) this.answer.textContent = text;
    if (this.note.textContent !== note) this.note.textContent = note;
  }
}
