// Every sweep, newest first.

import { get } from "./api.js";
import { connection, el, fill, status } from "./dom.js";
import { NONE, count, time } from "./format.js";

const REFRESH = 2000;
const PAGE = 100;
const HEADS = ["Name", "Status", "Children", "Rungs decided", "Metric", "Best child", "Created"];

export class SweepList {
  constructor(page) {
    this.controller = new AbortController();
    this.rows = el("tbody");
    this.empty = el("p", { class: "card soft", hidden: true }, "No sweeps yet. Start one: training-engine sweep start FILE");
    const table = el("table", { "aria-label": "Sweeps, newest first" }, el("thead", {}, el("tr", {}, HEADS.map((name) => el("th", { scope: "col" }, name)))), this.rows);
    this.table = el("div", { class: "card scroll", hidden: true }, table);
    fill(page, el("div", { class: "head" }, el("h1", {}, "Sweeps")), this.table, this.empty);
    this.timer = setInterval(() => this.#refresh(), REFRESH);
    this.#refresh();
  }

  close() {
    clearInterval(this.timer);
    this.controller.abort();
  }

  async #refresh() {
    try {
      const { sweeps } = await get(`/sweeps?page_size=${PAGE}`, { signal: this.controller.signal });
      const shown = JSON.stringify(sweeps);
      if (shown !== this.shown) fill(this.rows, sweeps.map(row));
      this.shown = shown;
      this.table.hidden = !sweeps.length;
      this.empty.hidden = sweeps.length > 0;
      connection("");
    } catch (error) {
      if (!this.controller.signal.aborted) connection(`reconnecting… ${error.message}`);
    }
  }
}

function row(sweep) {
  const link = el("a", { href: `#/sweeps/${encodeURIComponent(sweep.sweep_id)}` }, sweep.name);
  const rungs = `${sweep.rungs_decided} of ${sweep.rung_steps.length + 1}`;
  const texts = [count(sweep.num_children), rungs, sweep.metric, sweep.best_child ?? NONE, time(sweep.created_at)];
  return el("tr", {}, el("td", { class: "name" }, link), el("td", {}, status(sweep.status)), texts.map((text) => el("td", {}, text)));
}
