// The charts of a job: those that people look for first, and one for each other metric that its
// points have. A metric of the user's own is among the first ones.

import { Chart } from "./chart.js";
import { el } from "./dom.js";

const accent = (name, label) => [{ name, label, color: "--accent" }];
const LOSS = [...accent("loss", "train"), { name: "val_loss", label: "validation", color: "--second" }];

export class MetricCharts {
  constructor() {
    this.loss = new Chart("Loss", LOSS, { tall: true });
    this.charts = [
      this.loss,
      new Chart("Learning rate", accent("lr", "lr")),
      new Chart("Gradient norm", accent("grad_norm", "norm")),
      new Chart("Tokens per second", accent("tokens_per_second", "tokens/s")),
    ];
    this.drawn = new Set(this.charts.flatMap((chart) => chart.series.map((one) => one.name)));
    this.first = el("div", { class: "grid three" }, this.charts.slice(1).map((chart) => chart.element));
    this.more = el("div", { class: "grid three" });
    this.moreCard = el("section", { class: "card", hidden: true }, el("details", {}, el("summary", {}, "More metrics"), this.more));
    this.elements = [this.loss.element, this.first, this.moreCard];
  }

  close() {
    for (const chart of this.charts) chart.close();
  }

  // `nothing` says what it means that there are no values: one of NOTHING.
  show(history, nothing) {
    for (const name of history.names) if (!this.drawn.has(name)) this.#add(name, history.isCustom(name));
    for (const chart of this.charts) chart.show(history.points, nothing);
  }

  #add(name, custom) {
    this.drawn.add(name);
    const chart = new Chart(name, accent(name, name));
    this.charts.push(chart);
    (custom ? this.first : this.more).append(chart.element);
    if (!custom) this.moreCard.hidden = false;
  }
}
