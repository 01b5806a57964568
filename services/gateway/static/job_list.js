// Every job, whichever door it came through, newest first.

import { get } from "./api.js";
import { connection, el, fill, status } from "./dom.js";
import { count, duration, percent, time } from "./format.js";

const REFRESH = 2000;
const STATES = ["queued", "running", "stopping", "stopped", "succeeded", "failed"];

export class JobList {
  constructor(page) {
    this.controller = new AbortController();
    this.size = 50;
    this.filter = el(
      "select",
      { onchange: () => this.#refresh() },
      el("option", { value: "" }, "all"),
      STATES.map((name) => el("option", { value: name }, name)),
    );
    this.workers = el("p", { class: "soft" });
    this.rows = el("tbody");
    this.more = el("button", { type: "button", hidden: true, onclick: () => this.#showMore() }, "More");
    const heads = ["Name", "Status", "Progress", "Step", "Attempt", "Remaining", "Started"];
    fill(
      page,
      el(
        "div",
        { class: "head" },
        el("h1", {}, "Jobs"),
        el("label", { class: "actions soft" }, "Show ", this.filter),
      ),
      this.workers,
      el(
        "div",
        { class: "card scroll" },
        el(
          "table",
          { "aria-label": "Jobs, newest first" },
          el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))),
          this.rows,
        ),
      ),
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
    this.size = Math.min(1000, this.size + 50);
    this.#refresh();
  }

  async #refresh() {
    if (this.busy) return;
    this.busy = true;
    const query = new URLSearchParams({ page_size: this.size });
    if (this.filter.value) query.set("status", this.filter.value);
    const options = { signal: this.controller.signal };
    try {
      const [jobs, workers] = await Promise.all([
        get(`/jobs?${query}`, options),
        get("/workers", options),
      ]);
      this.#show(jobs, workers.workers);
      connection("");
    } catch (error) {
      if (this.controller.signal.aborted) return;
      if (error.status === 401) throw error;
      connection(`reconnecting: ${error.message}`);
    } finally {
      this.busy = false;
    }
  }

  #show(page, workers) {
    const busy = workers.filter((worker) => worker.state === "busy").length;
    this.workers.textContent = workers.length
      ? `${workers.length} workers, ${busy} busy`
      : "No worker is connected: jobs wait in the queue until one is.";
    this.more.hidden = !page.next_page_token;
    const rows = page.jobs.map(row);
    if (rows.length === 0) {
      rows.push(el("tr", {}, el("td", { colspan: "7", class: "soft" }, "No jobs here yet.")));
    }
    this.#keepFocus(() => fill(this.rows, rows));
  }

  // Redrawing must not take the keyboard's place away.
  #keepFocus(redraw) {
    const focused = this.rows.contains(document.activeElement)
      ? document.activeElement.getAttribute("href")
      : null;
    redraw();
    if (focused) this.rows.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }
}

function row(job) {
  return el(
    "tr",
    {},
    el("td", {}, el("a", { href: `#/jobs/${encodeURIComponent(job.job_id)}` }, job.name)),
    el("td", {}, status(job.status)),
    el(
      "td",
      {},
      el("progress", {
        value: job.progress,
        max: "1",
        "aria-label": `Progress of ${job.name}: ${percent(job.progress)}`,
      }),
    ),
    el("td", { class: "number" }, `${count(job.current_step)} / ${count(job.max_steps)}`),
    el("td", { class: "number" }, String(job.attempt)),
    el("td", {}, duration(job.eta_seconds)),
    el("td", {}, time(job.created_at)),
  );
}
