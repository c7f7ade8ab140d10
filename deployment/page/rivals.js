/* Networks that read the same drawing side by side, and how often this visitor has fooled each. */

import { element } from "./element.js";

const PREFERRED = ["default", "under5k", "under700"]; // beside the run that is chosen
const COUNT = 3;
const KEY = "fooled"; // of { name: [times fooled, times asked], … } in the browser's storage

/** The runs that read beside each other, the largest first: the chosen one, and others of its classes. */
export function rivalsOf(runs, chosen) {
  const same = runs.filter((run) => run !== chosen && String(run.classes) === String(chosen.classes));
  const rank = ({ name }) => (PREFERRED.includes(name) ? PREFERRED.indexOf(name) : COUNT);
  const others = same.sort((a, b) => rank(a) - rank(b)).slice(0, COUNT - 1);
  return [chosen, ...others].sort((a, b) => b.parameters - a.parameters);
}

export class Rivals {
  constructor(section) {
    this.section = section;
    this.cards = new Map(); // by the name of the run
    this.counts = stored();
  }

  /** Have a card for each run. */
  set(runs, chosen) {
    this.cards = new Map(runs.map((run) => [run.name, new Card(run, run === chosen)]));
    this.section.replaceChildren(...[...this.cards.values()].map(({ card }) => card));
    this.section.hidden = runs.length < 2;
    this.count();
  }

  /** Show what a run read, as `judge` returns it for every digit; null for nothing. */
  show(name, judged) {
    const card = this.cards.get(name);
    if (!card) return;
    card.judged = judged;
    card.answer.textContent = judged?.map(({ text }) => text).join("") ?? "";
    card.note.textContent = judged?.length === 1 ? judged[0].note : "";
  }

  /** Count who was fooled by a digit: sure, and wrong. */
  name(digit, right) {
    for (const [name, { judged }] of this.cards) {
      if (!judged?.[digit]) continue;
      const [fooled, all] = this.counts[name] ?? [0, 0];
      this.counts[name] = [fooled + (judged[digit].sure && judged[digit].best !== right), all + 1];
    }
    stored(this.counts);
    this.count();
  }

  count() {
    for (const [name, { fooled }] of this.cards) {
      const [times, all] = this.counts[name] ?? [0, 0];
      fooled.textContent = all ? `fooled ${times} of ${all}` : "";
    }
  }
}

class Card {
  constructor({ name, parameters }, isChosen) {
    [this.answer, this.note, this.fooled] = ["b", "span", "span"].map((kind) => element(kind));
    const size = element("span", {}, `${parameters.toLocaleString("en")} parameters`);
    const title = element("p", {}, element("strong", {}, name), size);
    const read = element("p", { className: "read" }, this.answer, this.note, this.fooled);
    this.card = element("li", { className: isChosen ? "chosen" : "" }, title, read);
  }
}

/** The counts in the browser's storage, where new ones replace them; where it is forbidden they end with the page. */
function stored(counts) {
  try {
    if (counts) localStorage.setItem(KEY, JSON.stringify(counts));
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return counts ?? {};
  }
}
