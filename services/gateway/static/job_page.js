// One job, live: its state, its curves, its checkpoints, its log.

import { AlertList } from "./alert_list.js";
import { at, get, post, send, urlOf } from "./api.js";
import { NOTHING } from "./chart.js";
import { CheckpointTable } from "./checkpoint_table.js";
import { ask } from "./dialog.js";
import { connection, el, fill, notice, setText, status } from "./dom.js";
import { follow } from "./events.js";
import { count, percent } from "./format.js";
import { History } from "./history.js";
import { JobNotes } from "./job_notes.js";
import { JobSummary } from "./job_summary.js";
import { LogView } from "./log_view.js";
import { MetricCharts } from "./metric_charts.js";
import { SampleTable } from "./sample_table.js";
import { Sampler } from "./sampling.js";
import { SystemCharts } from "./system_charts.js";
import { ValuesTable } from "./values_table.js";

const ACTIVE = ["queued", "running", "stopping"];
const STATE_REFRESH = 1000;

export class JobPage {
  constructor(page, jobId) {
    this.page = page;
    this.jobId = jobId;
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.cursor = { id: "" };
    this.waiting = {};
    this.history = new History(jobId, this.signal, () => this.#redrawSoon());
    this.summary = new JobSummary();
    this.notes = new JobNotes(jobId, (job) => this.#showState(job));
    this.charts = new MetricCharts();
    this.alerts = new AlertList(jobId, this.signal);
    this.samples = new SampleTable(jobId, this.signal);
    this.system = new SystemCharts(jobId, this.signal);
    this.values = new ValuesTable(urlOf("jobs", jobId, "metrics", "history"));
    this.saved = null;
    this.checkpoints = new CheckpointTable((checkpoint) => this.#resumeFrom(checkpoint));
    this.sampler = new Sampler();
    this.log = new LogView();
    this.#build(page);
    this.#begin();
  }

  close() {
    this.controller.abort();
    clearInterval(this.timer);
    for (const timer of Object.values(this.waiting)) clearTimeout(timer);
    for (const part of [this.charts, this.system, this.values, this.sampler, this.log]) part.close();
  }

  #build(page) {
    this.title = el("h1", {}, "\u00a0");
    this.badge = el("span", { role: "status", "aria-live": "polite" });
    this.stop = el("button", { type: "button", disabled: true, onclick: () => this.#stop() }, "Stop");
    this.resume = el("button", { type: "button", disabled: true, onclick: () => this.#resume() }, "Resume");
    this.remove = el("button", { type: "button", disabled: true, class: "danger", onclick: () => this.#delete() }, "Delete");
    this.config = el("pre", { tabindex: "0", "aria-label": "Configuration" });
    fill(
      page,
      el(
        "div",
        { class: "head" },
        this.title,
        this.badge,
        el("div", { class: "actions" }, this.stop, this.resume, this.remove),
      ),
      this.summary.element,
      this.alerts.element,
      this.notes.element,
      this.charts.elements,
      this.samples.element,
      this.system.element,
      el("div", { class: "grid two" }, this.checkpoints.element, this.sampler.element),
      this.log.element,
      this.values.element,
      el(
        "section",
        { class: "card" },
        el(
          "details",
          {},
          el("summary", {}, "Configuration"),
          el("p", {}, el("a", { href: `#/start?${new URLSearchParams({ from: this.jobId })}` }, "Start another job with it")),
          this.config,
        ),
      ),
    );
  }

  async #begin() {
    try {
      this.#showState(await get(at("jobs", this.jobId), { signal: this.signal }));
      // Shown at once: a table that charts push down later moves away under a pointer.
      const [checkpoints] = await Promise.all([this.#readCheckpoints(), this.history.load()]);
      this.#showCheckpoints(checkpoints);
      this.samples.load();
      this.alerts.load();
      clearInterval(this.timer);
      this.timer = setInterval(() => this.#refreshState(), STATE_REFRESH);
      await this.#follow();
    } catch (error) {
      if (this.signal.aborted) return;
      if (error.passing) this.#soon("begin", 2000, () => this.#begin());
      this.#fail(error, { passing: error.passing });
    }
  }

  // One connection for the open job; it carries every kind of event.
  async #follow() {
    if (this.following) return;
    this.following = true;
    try {
      // The history has been read up to its last step; a cursor knows better.
      const known = this.cursor.id ? "" : `?after_step=${this.history.lastStep}`;
      await follow(at("jobs", this.jobId, "stream") + known, {
        signal: this.signal,
        cursor: this.cursor,
        onEvent: (name, data) => this.#onEvent(name, data),
        onState: (name) => this.#onConnection(name),
      });
    } catch (error) {
      if (error.reason !== "invalid_cursor" || !this.cursor.id) throw error;
      this.#startOver();
    } finally {
      this.following = false;
    }
  }

  // The service was upgraded, or its Redis emptied: it knows the place in the stream no more.
  #startOver() {
    this.cursor.id = "";
    this.log.clear();
    this.#soon("begin", 0, () => this.#begin());
  }

  #onConnection(name) {
    if (name === "live") notice("");
    connection({ live: "live", reconnecting: "reconnecting…" }[name] ?? "");
  }

  #onEvent(name, data) {
    // Replayed states are old; the record itself is asked, soon and once.
    if (name === "state") this.#soon("state", 100, () => this.#refreshState(true));
    else if (name === "metrics") this.#addPoint(data);
    else if (name === "checkpoint") this.#loadCheckpointsSoon();
    else if (name === "alert") this.#soon("alerts", 100, () => this.alerts.load());
    else if (name === "log") this.log.add(data);
    else if (name === "rewound") {
      this.history.rewind(data.to_step);
      this.samples.rewind(data.to_step);
      this.#loadCheckpointsSoon();
    }
  }

  #fail(error, { passing = false } = {}) {
    if (this.signal.aborted || error.status === 401) return;
    if (passing) connection("reconnecting…");
    const gone = error.reason === "job_not_found";
    if (gone) this.#showDeleted();
    notice(gone ? `${error.message}. It may have been deleted; the list of jobs has those that there are.` : error.message);
  }

  // What is shown stays, as the last that was known.
  #showDeleted() {
    clearInterval(this.timer);
    connection("");
    for (const button of [this.stop, this.resume, this.remove]) button.disabled = true;
    this.checkpoints.allowResume(false);
    if (!this.job) {
      document.title = "No such job – Training Engine";
      fill(this.page, el("h1", {}, "No such job"), el("p", {}, el("a", { href: "#/" }, "All jobs")));
      return;
    }
    this.job.status = "deleted";
    document.title = `${this.job.name} – deleted`;
    fill(this.badge, status("deleted"));
    this.summary.show(this.job, this.history);
    this.#showRest();
  }

  // Once, after a delay, however often it is asked for meanwhile.
  #soon(name, delay, work) {
    this.waiting[name] ??= setTimeout(() => {
      this.waiting[name] = null;
      if (!this.signal.aborted) work();
    }, delay);
  }

  #addPoint(point) {
    this.history.add(point);
    if (this.job?.config?.sample_prompts?.length && point.val_loss !== undefined) this.#soon("samples", 300, () => this.samples.load());
  }

  #loadCheckpointsSoon() {
    this.#soon("checkpoints", 300, () => this.#readCheckpoints().then((saved) => this.#showCheckpoints(saved), () => {}));
  }

  #redrawSoon() {
    this.#soon("charts", 100, () => {
      this.#drawPoints();
      if (this.job) this.summary.show(this.job, this.history);
    });
  }

  get #ended() {
    return Boolean(this.job) && !ACTIVE.includes(this.job.status);
  }

  #drawPoints() {
    const nothing = this.history.loaded ? NOTHING[this.#ended ? "ever" : "yet"] : NOTHING.loading;
    this.charts.show(this.history, nothing);
    this.values.show(this.history);
  }

  // What is there or not, and whether it may still come.
  #showRest() {
    const ended = this.#ended;
    this.#drawPoints();
    this.log.sayEmpty(ended);
    if (!this.saved) return;
    this.checkpoints.show(this.saved, { ended, bestMetric: this.job?.config?.best_metric ?? "val_loss" });
    this.sampler.offer(this.saved, ended, Boolean(this.job?.config?.ema_decay));
  }

  async #refreshState(anyway = false) {
    if (!anyway && (this.#ended || document.visibilityState !== "visible")) return;
    try {
      this.#showState(await get(at("jobs", this.jobId, "status"), { signal: this.signal }));
    } catch (error) {
      if (error.status === 404) this.#fail(error);
    }
  }

  #showState(job) {
    const before = this.job?.status;
    this.job = { ...this.job, ...job };
    const now = this.job;
    const active = ACTIVE.includes(now.status);
    setText(this.title, now.name || now.job_id);
    document.title = `${active ? `${percent(now.progress)} – ` : ""}${now.name} – ${now.status}`;
    this.stop.disabled = !["queued", "running"].includes(now.status);
    this.resume.disabled = active;
    this.remove.disabled = !["queued", "stopped", "succeeded", "failed"].includes(now.status);
    this.checkpoints.allowResume(!active);
    this.summary.show(now, this.history);
    this.notes.show(now);
    if (before === now.status) return;
    fill(this.badge, status(now.status));
    this.#showRest();
    if (now.config) setText(this.config, JSON.stringify(now.config, null, 2));
    // The whole record holds what the status leaves out; it changes with the state only.
    if (before) this.#loadRecord();
    if (before && active) this.#follow().catch((error) => this.#fail(error));
  }

  async #loadRecord() {
    const job = await get(at("jobs", this.jobId), { signal: this.signal }).catch(() => null);
    if (job) this.#showState(job);
  }

  // The newest first: that is what people want.
  async #readCheckpoints() {
    const path = `${at("jobs", this.jobId, "checkpoints")}?page_size=1000`;
    const { checkpoints } = await get(path, { signal: this.signal });
    return checkpoints.reverse();
  }

  #showCheckpoints(checkpoints) {
    this.saved = checkpoints;
    this.summary.show(this.job, this.history);
    this.#showRest();
  }

  async #act(work) {
    notice("");
    try {
      await work();
    } catch (error) {
      this.#fail(error);
    }
    if (!this.signal.aborted) await this.#refreshState(true);
  }

  // No question: it saves a checkpoint first, and Resume takes it back.
  #stop() {
    this.stop.disabled = true;
    this.#act(() => post(at("jobs", this.jobId, "stop")));
  }

  async #resume() {
    const body = {};
    if (this.job.status === "succeeded") {
      body.max_steps = await ask({
        title: "Train longer",
        text:
          `It has reached its last step, ${count(this.job.max_steps)}. ` +
          "The learning rate follows the longer schedule from there.",
        action: "Resume",
        field: { label: "Train to step", value: 2 * this.job.max_steps, min: this.job.max_steps + 1 },
      });
      if (body.max_steps === null) return;
    }
    this.resume.disabled = true;
    this.#act(() => post(at("jobs", this.jobId, "resume"), body));
  }

  async #resumeFrom(checkpoint) {
    const cut = this.job.current_step > checkpoint.step;
    const sure =
      !cut ||
      (await ask({
        title: `Resume from step ${count(checkpoint.step)}`,
        text: "What came after it is cut: later checkpoints and the history past that step.",
        action: "Resume from here",
        danger: true,
      }));
    if (sure) this.#act(() => post(at("jobs", this.jobId, "resume"), { checkpoint_id: checkpoint.checkpoint_id }));
  }

  async #delete() {
    const sure = await ask({
      title: `Delete ${this.job.name}`,
      text: "Its history, its log and its checkpoints go with it. This cannot be undone.",
      action: "Delete",
      danger: true,
    });
    if (!sure) return;
    this.#act(async () => {
      await send("DELETE", at("jobs", this.jobId));
      location.hash = "#/";
    });
  }
}
