// Every job, whichever door it came through, newest first.

import { get } from "./api.js";
import { connection, el, fill, Kept, status } from "./dom.js";
import { NONE, count, duration, many, percent, time } from "./format.js";

const REFRESH = 2000;
const PAGE = 50;
const STATES = ["queued", "running", "stopping", "stopped", "succeeded", "failed"];
// On a narrow screen, what is not needed to find a job stays away.
const HEADS = [
  ["Name"],
  ["Status"],
  ["Progress"],
  ["Step", "number wide"],
  ["Remaining", "number wide"],
  ["Created", "number wide"],
];

export class JobList {
  constructor(page) {
    this.controller = new AbortController();
    this.size = PAGE;
    this.filter = el(
      "select",
      { onchange: () => this.#refresh(true) },
      el("option", { value: "" }, "all jobs"),
      STATES.map((name) => el("option", { value: name }, name)),
    );
    this.workers = el("p", { class: "soft" }, "\u00a0");
    this.rows = el("tbody");
    this.kept = new Kept(this.rows, { keyOf: (job) => job.job_id, make: row });
    this.table = el(
      "div",
      { class: "card scroll", hidden: true },
      el(
        "table",
        { "aria-label": "Jobs, newest first" },
        el("thead", {}, el("tr", {}, HEADS.map(([name, kind]) => el("th", { scope: "col", class: kind }, name)))),
        this.rows,
      ),
    );
    this.empty = el("div", { class: "card empty", hidden: true });
    this.more = el("button", { type: "button", hidden: true, onclick: () => this.#showMore() }, "Show more");
    fill(
      page,
      el(
        "div",
        { class: "head" },
        el("h1", {}, "Jobs"),
        el(
          "div",
          { class: "actions" },
          el("label", { class: "soft" }, el("span", { class: "unseen" }, "Show"), this.filter),
          el("a", { class: "button primary", href: "#/start" }, "Start a job"),
        ),
      ),
      this.workers,
      this.table,
      this.empty,
      this.more,
    );
    this.onVisible = () => document.visibilityState === "visible" && this.#refresh();
    document.addEventListener("visibilitychange", this.onVisible);
    this.timer = setInterval(this.onVisible, REFRESH);
    this.#refresh();
  }

  close() {
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.controller.abort();
  }

  #showMore() {
    this.size = Math.min(1000, this.size + PAGE);
    this.#refresh(true);
  }

  // What was asked for while an answer is under way is asked for behind it.
  async #refresh(repeat = false) {
    if (this.busy) {
      this.again ||= repeat;
      return;
    }
    this.busy = true;
    const query = new URLSearchParams({ page_size: this.size });
    if (this.filter.value) query.set("status", this.filter.value);
    const options = { signal: this.controller.signal };
    try {
      const [jobs, { workers }] = await Promise.all([get(`/jobs?${query}`, options), get("/workers", options)]);
      this.#show(jobs, workers);
      connection("");
    } catch (error) {
      if (this.controller.signal.aborted) return;
      connection(`reconnecting… ${error.message}`);
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
    const none = page.jobs.length === 0;
    this.table.hidden = none;
    this.empty.hidden = !none;
    this.more.hidden = !page.next_page_token;
    if (none) fill(this.empty, this.#nothing());
    this.kept.show(page.jobs);
  }

  #nothing() {
    if (this.filter.value) return el("p", {}, `No job is ${this.filter.value}.`);
    return [
      el("h2", {}, "No jobs yet"),
      el("p", {}, el("a", { href: "#/start" }, "Start one here"), ", or in a terminal:"),
      el("pre", {}, "training-engine start examples/tiny.yaml --dataset text.txt"),
      el("p", { class: "soft" }, "Jobs from every door (this page, REST, gRPC, the SDK and the command line) appear here."),
    ];
  }
}

function row(job) {
  return el(
    "tr",
    {},
    el("td", { class: "name" }, el("a", { href: `#/jobs/${encodeURIComponent(job.job_id)}` }, job.name || job.job_id)),
    el("td", {}, status(job.status)),
    el(
      "td",
      { class: "progress" },
      el("progress", { value: job.progress, max: "1", "aria-label": `Progress of ${job.name}` }),
      el("span", { class: "soft" }, percent(job.progress)),
    ),
    el("td", { class: "number wide" }, `${count(job.current_step)} / ${count(job.max_steps)}`),
    el("td", { class: "number wide" }, job.status === "running" ? duration(job.eta_seconds) : NONE),
    el("td", { class: "number wide" }, time(job.created_at)),
  );
}
