// The runs of a comparison as a table: best and last of each metric, and the fields that differ.

import { el, Kept, status } from "./dom.js";
import { number } from "./format.js";
import { saveText } from "./exports.js";
import { swatch } from "./legend.js";

// Fields that differ between any two runs.
const LEFT_OUT = ["checkpoint_dir", "wandb_run_name"];

export class CompareTable {
  // onSort is called with the column to sort by, and whether its greatest value comes first; onMean
  // with the id of the run that the pointer is on, or null.
  constructor(onSort, onMean) {
    this.onSort = onSort;
    this.onMean = onMean;
    this.head = el("tr");
    this.body = el("tbody");
    this.kept = new Kept(this.body, { keyOf: (run) => run.id, make: (run) => this.#row(run) });
    this.table = el("table", { "aria-label": "Runs" }, el("thead", {}, this.head), this.body);
    this.csv = el("button", { type: "button", onclick: () => saveText("comparison.csv", "text/csv", this.#csv()) }, "CSV");
    this.element = el("section", { class: "card" }, el("div", { class: "head" }, el("h2", {}, "Runs and where they differ"), el("div", { class: "actions" }, this.csv)), el("div", { class: "scroll" }, this.table));
  }

  #row(run) {
    const [mean, leave] = [() => this.onMean(run.id), () => this.onMean(null)];
    return el("tr", { onpointerenter: mean, onpointerleave: leave, onfocusin: mean, onfocusout: leave }, this.columns.map((column) => column.cell(run)));
  }

  // runs: [{ id, job, color, dash, summary: { METRIC: series } }], metrics: names.
  show(runs, metrics, { sort, down }) {
    this.columns = [...columnsOf(metrics, runs), ...differences(runs)];
    const by = this.columns.find((column) => column.name === sort);
    this.rows = by ? [...runs].sort(order(by, down)) : runs;
    const head = (column) => {
      const sorted = column === by;
      const button = el("button", { type: "button", class: "plain", onclick: () => this.onSort(column.name, sorted && !down) }, column.name);
      return el("th", { scope: "col", class: column.kind || null, "aria-sort": sorted ? (down ? "descending" : "ascending") : null }, button);
    };
    const heads = el("tr", {}, this.columns.map(head));
    if (!heads.isEqualNode(this.head)) {
      this.head.replaceWith(heads);
      this.head = heads;
    }
    this.kept.show(this.rows);
  }

  #csv() {
    const lines = [["job_id", ...this.columns.map((column) => column.name)]];
    for (const run of this.rows) lines.push([run.id, ...this.columns.map((column) => column.value(run) ?? "")]);
    return csvOf(lines);
  }
}

export const csvOf = (lines) => lines.map((line) => `${line.map(quoted).join(",")}\n`).join("");

// A text that a spreadsheet would take for a formula gets an apostrophe.
function quoted(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function column(name, value, shown = (run) => value(run) ?? "", kind = "") {
  return { name, value, kind, cell: (run) => el("td", { class: kind }, shown(run)) };
}

function columnsOf(metrics, runs) {
  const link = (run) => el("a", { href: `#/jobs/${encodeURIComponent(run.id)}` }, run.job?.name || run.id);
  return [
    { name: "name", value: (run) => run.job?.name ?? run.id, cell: (run) => el("td", { class: "name" }, el("span", { class: "together" }, swatch(run), link(run))) },
    column("status", (run) => run.job?.status, (run) => status(run.job?.status)),
    column("step", (run) => run.job?.current_step, undefined, "number"),
    ...metrics.flatMap((metric) => ["best", "last"].filter((which) => runs.some((run) => run.summary[metric]?.[which] != null)).map((which) => column(`${metric}, ${which}`, (run) => run.summary[metric]?.[which], (run) => number(run.summary[metric]?.[which]), "number"))),
  ];
}

function differences(runs) {
  const flat = new Map(runs.map((run) => [run.id, Object.fromEntries(leaves(run.job?.config ?? {}))]));
  const names = [...new Set(runs.flatMap((run) => Object.keys(flat.get(run.id))))].sort();
  const differs = (name) => new Set(runs.map((run) => JSON.stringify(flat.get(run.id)[name]))).size > 1;
  const value = (name) => (run) => {
    const found = flat.get(run.id)[name];
    return found !== null && typeof found === "object" ? JSON.stringify(found) : found;
  };
  const kind = (name) => (runs.every((run) => typeof (value(name)(run) ?? 0) === "number") ? "number" : "");
  return names.filter((name) => !LEFT_OUT.includes(name) && differs(name)).map((name) => column(name, value(name), (run) => shown(value(name)(run)), kind(name)));
}

// Without the last digits of a product such as 3 * 1e-4.
const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(12))) : String(value ?? ""));

function* leaves(fields, path = "") {
  for (const [name, value] of Object.entries(fields)) {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) yield* leaves(value, `${path}${name}.`);
    else yield [path + name, value];
  }
}

// What is absent comes last, whichever way the table is sorted.
function order(by, down) {
  return (one, other) => {
    const [a, b] = [by.value(one) ?? null, by.value(other) ?? null];
    if (a === null || b === null) return (a === null) - (b === null);
    const sign = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return down ? -sign : sign;
  };
}
