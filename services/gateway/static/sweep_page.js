// One sweep: its children as a table and as parallel coordinates, and which parameter mattered.

import { at, get, post, remove } from "./api.js";
import { MOST_RUNS, comparisonOf } from "./compare_state.js";
import { ask } from "./dialog.js";
import { connection, el, fill, Kept, notice, setText, status } from "./dom.js";
import { NONE, count, number } from "./format.js";
import { ParallelChart, text } from "./parallel_chart.js";

const REFRESH = 2000;

export class SweepPage {
  constructor(page, id) {
    this.id = id;
    this.controller = new AbortController();
    [this.sort, this.down] = ["Rank", false];
    this.title = el("h1", {}, id);
    this.state = el("span");
    this.actions = el("div", { class: "actions" });
    this.facts = el("p", { class: "soft" });
    this.heads = el("tr");
    this.rows = el("tbody");
    this.kept = new Kept(this.rows, { keyOf: (child) => child.number, make: (child) => this.#row(child) });
    this.chart = new ParallelChart();
    this.importance = el("tbody");
    const children = el("table", { "aria-label": "Children" }, el("thead", {}, this.heads), this.rows);
    const importance = el("table", { "aria-label": "Importance" }, this.importance);
    fill(
      page,
      el("div", { class: "head" }, this.title, this.state, this.actions),
      this.facts,
      el("section", { class: "card" }, el("h2", {}, "Parallel coordinates"), this.chart.element),
      el("section", { class: "card" }, el("h2", {}, "Importance"), el("p", { class: "soft" }, "Share of the differences in rank after the first rung that this parameter alone accounts for (epsilon squared on ranks)."), importance),
      el("section", { class: "card" }, el("h2", {}, "Children"), el("div", { class: "scroll" }, children)),
    );
    this.timer = setInterval(() => this.#refresh(), REFRESH);
    this.#refresh();
  }

  close() {
    clearInterval(this.timer);
    this.controller.abort();
  }

  async #refresh() {
    try {
      this.#show(await get(at("sweeps", this.id), { signal: this.controller.signal }));
      connection(this.sweep.status === "running" ? "live" : "");
    } catch (error) {
      if (this.controller.signal.aborted) return;
      if (error.status === 404) clearInterval(this.timer);
      if (error.passing) connection(`reconnecting… ${error.message}`);
      else notice(error.message);
    }
  }

  #show(sweep) {
    const shown = JSON.stringify(sweep);
    if (shown === this.shown) return;
    this.shown = shown;
    this.sweep = sweep;
    document.title = `${sweep.name} – Training Engine`;
    setText(this.title, sweep.name);
    fill(this.state, status(sweep.status));
    this.#showButtons();
    setText(this.facts, factsOf(sweep));
    this.#showTable();
    const scored = sweep.children.filter((child) => child.score !== null);
    const columns = [...sweep.parameters.map(parameter), { name: sweep.metric, value: (child) => child.score }];
    this.chart.show(columns, scored, sweep.best_child);
    fill(this.importance, sweep.importance.map(({ parameter: name, value }) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, el("meter", { min: 0, max: 1, value: value ?? 0, "aria-label": name })), el("td", { class: "number" }, number(value, 2)))));
  }

  #columns() {
    const { metric, parameters } = this.sweep;
    const plain = (name, field) => ({ name, value: (child) => child[field] });
    return [plain("Rank", "rank"), plain("Child", "number"), plain("Status", "status"), plain("Rung", "rung"), plain("Step", "current_step"), plain(metric, "score"), ...parameters.map(parameter)];
  }

  #showTable() {
    const columns = this.#columns();
    const by = columns.find((column) => column.name === this.sort) ?? columns[0];
    const head = (column) => {
      const sorted = column === by;
      const onclick = () => {
        [this.sort, this.down] = [column.name, sorted && !this.down];
        this.#showTable();
      };
      return el("th", { scope: "col", "aria-sort": sorted ? (this.down ? "descending" : "ascending") : null }, el("button", { type: "button", class: "plain", onclick }, column.name));
    };
    fill(this.heads, columns.map(head));
    this.kept.show([...this.sweep.children].sort(order(by, this.down)));
  }

  #row(child) {
    const { sweep } = this;
    const isBest = child.number === sweep.best_child;
    const name = child.job_id ? el("a", { href: `#/jobs/${encodeURIComponent(child.job_id)}` }, `child ${child.number}`) : `child ${child.number}`;
    const texts = [child.rung, count(child.current_step), number(child.score), ...sweep.parameters.map((each) => text(parameter(each).value(child)))];
    return el("tr", { class: isBest ? "best" : null }, el("td", {}, child.rank ?? NONE), el("td", {}, name, isBest ? " ★ best" : ""), el("td", {}, child.status ? status(child.status) : child.rank ? "deleted" : "waits"), texts.map((each) => el("td", { class: "number" }, each)));
  }

  // Left in place while they stay the same, so that no click or focus is lost.
  #showButtons() {
    const which = `${this.sweep.status} ${this.#started().length > 0}`;
    if (which !== this.buttons) fill(this.actions, this.#buttons());
    this.buttons = which;
  }

  #buttons() {
    const button = (name, work) => el("button", { type: "button", onclick: () => this.#try(work) }, name);
    const compare = this.#started().length > 0 && el("button", { type: "button", onclick: () => (location.hash = comparisonOf(this.#started())) }, "Compare");
    const change = (verb) => () => post(at("sweeps", this.id, verb), {});
    if (this.sweep.status === "running") return [compare, button("Stop", change("stop"))];
    return [compare, this.sweep.status === "stopped" && button("Resume", change("resume")), button("Delete", () => this.#delete())];
  }

  // The jobs of its children, the best first, as many as a comparison draws.
  #started() {
    const ranked = [...this.sweep.children].sort(order({ value: (child) => child.rank }, false));
    return ranked.filter((child) => child.job_id).slice(0, MOST_RUNS).map((child) => child.job_id);
  }

  async #try(work) {
    try {
      await work();
      notice("");
      await this.#refresh();
    } catch (error) {
      notice(error.message);
    }
  }

  async #delete() {
    const text = `Its ${count(this.sweep.num_children)} children, their checkpoints and their metrics go with it.`;
    if (!(await ask({ title: `Delete ${this.sweep.name}?`, text, action: "Delete", danger: true }))) return;
    await remove(at("sweeps", this.id));
    location.hash = "#/sweeps";
  }
}

function parameter(name) {
  return { name, value: (child) => JSON.parse(child.values[name]) };
}

function factsOf(sweep) {
  const rungs = sweep.rung_steps.length ? `, ${sweep.rungs_decided} of ${sweep.rung_steps.length + 1} rungs decided` : "";
  return `${sweep.method}, ${count(sweep.num_children)} children, best is the ${sweep.goal === "max" ? "greatest" : "least"} ${sweep.metric}${rungs}${sweep.message ? `. ${sweep.message}` : ""}`;
}

// What is absent comes last, whichever way the table is sorted.
function order(by, down) {
  return (one, other) => {
    const [a, b] = [by.value(one) ?? null, by.value(other) ?? null];
    if (a === null || b === null) return (a === null) - (b === null) || one.number - other.number;
    const sign = typeof a === "number" && typeof b === "number" ? a - b : text(a).localeCompare(text(b));
    return (down ? -sign : sign) || one.number - other.number;
  };
}
