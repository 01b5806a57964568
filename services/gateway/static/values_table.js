// The charts' numbers as a table, for those who read or copy rather than look: columns that are
// always there, then one for each other metric that the points have.

import { el, fill } from "./dom.js";
import { count, number } from "./format.js";

const ROWS = 1000;
const REFRESH = 500;
const COLUMNS = [
  ["Loss", "loss"],
  ["Validation", "val_loss"],
  ["Learning rate", "lr"],
  ["Gradient norm", "grad_norm"],
  ["Tokens/s", "tokens_per_second"],
];

export class ValuesTable {
  constructor(wholeUrl) {
    this.points = [];
    this.columns = COLUMNS;
    this.heads = el("tr");
    this.rows = el("tbody");
    this.details = el(
      "details",
      { ontoggle: () => this.#draw() },
      el("summary", {}, "Values"),
      el("p", { class: "soft" }, `Newest first, at most ${count(ROWS)}. `, el("a", { href: wholeUrl }, "The history as JSON")),
      el(
        "div",
        { class: "scroll values", tabindex: "0", role: "region", "aria-label": "Logged values" },
        el(
          "table",
          { "aria-label": "Logged values, newest first" },
          el("thead", {}, this.heads),
          this.rows,
        ),
      ),
    );
    this.element = el("section", { class: "card" }, this.details);
  }

  close() {
    clearTimeout(this.timer);
  }

  show({ points, names }) {
    this.points = points;
    const others = [...names].filter((name) => !COLUMNS.some(([, known]) => known === name));
    this.columns = [...COLUMNS, ...others.map((name) => [name, name])];
    // Drawn only for who looks, and not with every step.
    if (!this.details.open) return;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.#draw();
    }, REFRESH);
  }

  #draw() {
    if (!this.details.open) return;
    const newest = this.points.slice(-ROWS).reverse();
    const heads = ["Step", ...this.columns.map(([head]) => head)];
    fill(this.heads, heads.map((head) => el("th", { scope: "col", class: "number" }, head)));
    fill(this.rows, newest.map((point) => this.#row(point)));
  }

  #row(point) {
    const texts = [count(point.step), ...this.columns.map(([, name]) => number(point[name], 5))];
    return el("tr", {}, texts.map((text) => el("td", { class: "number" }, text)));
  }
}
