// Every job, whichever door it came through, newest first.

import { get } from "./api.js";
import { BulkActions, jobLink } from "./bulk_actions.js";
import { connection, el, fill, Kept, status } from "./dom.js";
import { NONE, count, duration, many, percent, time } from "./format.js";
import { JobFilters } from "./job_filters.js";
import { Sparklines } from "./sparklines.js";

const REFRESH = 2000;
const PAGE = 50;
// On a narrow screen, what is not needed to find a job stays away.
const HEADS = [
  ["Name"],
  ["Status"],
  ["Progress"],
  ["Loss", "wide"],
  ["Step", "number wide"],
  ["Remaining", "number wide"],
  ["Created", "number wide"],
];

export class JobList {
  constructor(page) {
    this.controller = new AbortController();
    const [, query] = location.hash.split("?");
    this.filters = new JobFilters(new URLSearchParams(query), () => this.#refresh(true));
    this.bulk = new BulkActions(() => this.#showChosen());
    this.sparklines = new Sparklines();
    this.jobs = [];
    this.workers = el("p", { class: "soft" }, "\u00a0");
    this.rows = el("tbody", { onchange: (event) => this.#choose(event.target) });
    this.kept = new Kept(this.rows, { keyOf: (job) => job.job_id, make: (job) => this.#row(job) });
    this.every = el("input", { type: "checkbox", "aria-label": "Choose all jobs on this page" });
    this.every.addEventListener("change", () => this.bulk.choose(this.jobs, this.every.checked));
    this.table = el(
      "div",
      { class: "card scroll", hidden: true },
      el(
        "table",
        { "aria-label": "Jobs, newest first" },
        el(
          "thead",
          {},
          el("tr", {}, el("th", { scope: "col" }, this.every), HEADS.map(([name, kind]) => el("th", { scope: "col", class: kind }, name))),
        ),
        this.rows,
      ),
    );
    this.empty = el("div", { class: "card empty", hidden: true });
    this.newest = el("button", { type: "button", onclick: () => this.filters.open("") }, "Newest jobs");
    this.older = el("button", { type: "button", onclick: () => this.filters.open(this.token) }, "Older jobs");
    fill(
      page,
      el(
        "div",
        { class: "head" },
        el("h1", {}, "Jobs"),
        this.filters.chips,
        el(
          "div",
          { class: "actions" },
          this.filters.elements,
          el("a", { class: "button primary", href: "#/start" }, "Start a job"),
        ),
      ),
      this.workers,
      this.bulk.element,
      this.table,
      this.empty,
      el("div", { class: "row" }, this.newest, this.older),
    );
    this.newest.hidden = this.older.hidden = true;
    this.onVisible = () => document.visibilityState === "visible" && this.#refresh();
    document.addEventListener("visibilitychange", this.onVisible);
    this.timer = setInterval(this.onVisible, REFRESH);
    this.#refresh();
  }

  close() {
    clearInterval(this.timer);
    this.filters.close();
    document.removeEventListener("visibilitychange", this.onVisible);
    this.controller.abort();
  }

  // What was asked for while an answer is under way is asked for behind it.
  async #refresh(repeat = false) {
    if (this.busy) {
      this.again ||= repeat;
      return;
    }
    this.busy = true;
    const options = { signal: this.controller.signal };
    try {
      const asked = this.filters.query(PAGE);
      const [jobs, { workers }] = await Promise.all([get(`/jobs?${asked}`, options), get("/workers", options)]);
      this.#show(jobs, workers);
      connection("");
      // Beside the list, which does not wait for them.
      if (await this.sparklines.read(this.jobs, options).catch(() => false)) this.kept.show(this.jobs);
    } catch (error) {
      if (this.controller.signal.aborted) return;
      // The service knows the place in the list no more.
      if (error.reason === "invalid_page_token") this.filters.open("");
      else connection(error.passing ? `reconnecting… ${error.message}` : error.message);
    } finally {
      this.busy = false;
    }
    if (this.again) {
      this.again = false;
      await this.#refresh();
    }
  }

  #show(page, workers) {
    const busy = workers.filter((worker) => worker.state === "busy").length;
    this.workers.textContent = workers.length
      ? `${many(workers.length, "worker")}, ${busy} busy`
      : "No worker is connected: jobs wait in the queue until one is.";
    this.jobs = page.jobs;
    this.token = page.next_page_token;
    const none = page.jobs.length === 0;
    this.table.hidden = none;
    this.empty.hidden = !none;
    this.newest.hidden = !this.filters.page;
    this.older.hidden = !this.token;
    if (none) fill(this.empty, this.#nothing());
    this.bulk.know(page.jobs);
    this.kept.show(page.jobs);
    this.#showChosen();
  }

  #choose(box) {
    this.bulk.choose(this.jobs.filter((job) => job.job_id === box.value), box.checked);
  }

  #showChosen() {
    for (const box of this.rows.querySelectorAll("input")) box.checked = this.bulk.has(box.value);
    const chosen = this.jobs.filter((job) => this.bulk.has(job.job_id)).length;
    this.every.checked = chosen > 0 && chosen === this.jobs.length;
    this.every.indeterminate = chosen > 0 && chosen < this.jobs.length;
  }

  #nothing() {
    if (this.token) return el("p", {}, "None of the newest jobs fits. Older ones may.");
    if (this.filters.page) return el("p", {}, "There are no older jobs.");
    if (this.filters.narrowed) return el("p", {}, "No job fits.");
    return [
      el("h2", {}, "No jobs yet"),
      el("p", {}, el("a", { href: "#/start" }, "Start one here"), ", or in a terminal:"),
      el("pre", {}, "training-engine start examples/tiny.yaml --dataset text.txt"),
      el("p", { class: "soft" }, "Jobs from every door (this page, REST, gRPC, the SDK and the command line) appear here."),
    ];
  }

  #row(job) {
    const chosen = { type: "checkbox", value: job.job_id, "aria-label": `Choose ${job.name || job.job_id}` };
    return el(
      "tr",
      {},
      el("td", {}, el("input", chosen)),
      el("td", { class: "name" }, jobLink(job), this.#tags(job)),
      el("td", {}, status(job.status)),
      el(
        "td",
        { class: "progress" },
        el("progress", { value: job.progress, max: "1", "aria-label": `Progress of ${job.name}` }),
        el("span", { class: "soft" }, percent(job.progress)),
      ),
      el("td", { class: "wide" }, this.sparklines.draw(job)),
      el("td", { class: "number wide" }, `${count(job.current_step)} / ${count(job.max_steps)}`),
      el("td", { class: "number wide" }, job.status === "running" ? duration(job.eta_seconds) : NONE),
      el("td", { class: "number wide" }, time(job.created_at)),
    );
  }

  #tags(job) {
    const only = (tag) => el("button", { type: "button", class: "tag", "aria-label": `Only tag ${tag}`, onclick: () => this.filters.addTag(tag) }, tag);
    return job.tags.length > 0 && el("span", { class: "tags" }, job.tags.map(only));
  }
}
