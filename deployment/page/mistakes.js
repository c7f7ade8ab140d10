/* The mistakes of a run, to be leafed through: the images that it reads wrong most confidently. */

import { element } from "./element.js";
import { decode, paint } from "./picture.js";
import { percent } from "./reading.js";

export class Mistakes {
  list = [];
  at = 0;
  open = false; // whether the mistake is read in the place of the drawing

  /** Fills a section, and calls `changed` whenever another mistake is to be read. */
  constructor(section, changed) {
    this.section = section;
    this.changed = changed;
    this.find("#previous").addEventListener("click", () => this.go(-1));
    this.find("#next").addEventListener("click", () => this.go(1));
    for (const name of ["#mistake", "#read"]) this.find(name).addEventListener("click", () => this.read());
    section.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.go(step);
    });
  }

  find(selector) {
    return this.section.querySelector(selector);
  }

  /** Show those of a run, from the first; nothing where they were not recorded. */
  set({ misclassified, images, holdout }, mistakes = []) {
    Object.assign(this, { list: mistakes, at: 0, open: false });
    const all = `${images.toLocaleString("en")} ${holdout ? "held-out" : "test"} images`;
    const some = misclassified > mistakes.length ? `, here the ${mistakes.length} most confident` : "";
    this.find("#total").textContent = misclassified
      ? `It reads ${misclassified.toLocaleString("en")} of ${all} wrong${some}.`
      : `It reads all ${all} right.`;
    this.find("#leaf").hidden = !mistakes.length;
    this.section.hidden = misclassified > 0 && !mistakes.length;
    this.write();
  }

  /** The mistake that is looked at; undefined where there is none. */
  get current() {
    return this.list[this.at];
  }

  /** Leaf on, from the last to the first; a mistake that is read makes way for the next. */
  go(step) {
    this.at = (this.at + step + this.list.length) % this.list.length;
    this.write();
    if (this.open) this.changed();
  }

  read() {
    this.open = true;
    this.changed();
  }

  write() {
    if (!this.current) return;
    const { index, predicted, confidence, pixels } = this.current;
    paint(this.find("#mistake"), decode(pixels));
    this.find("#place").textContent = `${this.at + 1} of ${this.list.length}`;
    this.find("#index").textContent = `image ${index}`;
    const facts = { "true class": this.current.true, "read as": `${predicted}, ${percent(confidence)}` };
    this.find("dl").replaceChildren(
      ...Object.entries(facts).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
  }
}
