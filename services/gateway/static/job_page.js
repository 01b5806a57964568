// One job, live: its state, its curves, its checkpoints, its log.

import { at, downloadUrl, get, post, send } from "./api.js";
import { Chart } from "./chart.js";
import { connection, el, fill, notice, setText, status } from "./dom.js";
import { follow } from "./events.js";
import { bytes, count, duration, number, percent, time } from "./format.js";
import { History } from "./history.js";
import { Sampler } from "./sampling.js";

const LOG_LINES = 1000;
const ACTIVE = ["queued", "running", "stopping"];
const STATE_REFRESH = 1000;

export class JobPage {
  constructor(page, jobId) {
    this.jobId = jobId;
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.history = new History(jobId, this.signal, () => this.#redrawSoon());
    this.charts = [
      new Chart("Loss", [
        { name: "loss", label: "train", color: "--accent" },
        { name: "val_loss", label: "validation", color: "--second" },
      ]),
      new Chart("Learning rate", [{ name: "lr", label: "lr", color: "--accent" }]),
      new Chart("Gradient norm", [{ name: "grad_norm", label: "norm", color: "--accent" }]),
      new Chart("Tokens per second", [
        { name: "tokens_per_second", label: "tokens/s", color: "--accent" },
      ]),
    ];
    this.sampler = new Sampler();
    this.lines = [];
    this.#build(page);
    this.#begin();
  }

  close() {
    this.controller.abort();
    clearInterval(this.timer);
    this.sampler.close();
    for (const chart of this.charts) chart.close();
  }

  #build(page) {
    this.title = el("h1", {}, this.jobId);
    this.badge = el("span", { role: "status", "aria-live": "polite" });
    this.stop = el("button", { type: "button", onclick: () => this.#stop() }, "Stop");
    this.resume = el("button", { type: "button", onclick: () => this.#resume() }, "Resume");
    this.remove = el("button", { type: "button", class: "danger", onclick: () => this.#delete() }, "Delete");
    this.bar = el("progress", { max: "1", value: "0", "aria-label": "Progress" });
    this.facts = el("dl", { class: "facts" });
    this.trouble = el("div");
    this.checkpoints = el("tbody");
    this.log = el("pre", { tabindex: "0", "aria-label": "Log, last lines" });
    this.config = el("pre", { tabindex: "0" });
    fill(
      page,
      el(
        "div",
        { class: "head" },
        this.title,
        this.badge,
        el("div", { class: "actions" }, this.stop, this.resume, this.remove),
      ),
      el("section", { class: "card", "aria-label": "State" }, this.bar, this.facts, this.trouble),
      el("div", { class: "grid" }, this.charts.map((chart) => chart.element)),
      el("div", { class: "grid" }, this.#checkpointCard(), this.sampler.element),
      el("section", { class: "card" }, el("h2", {}, "Log"), this.log),
      el(
        "section",
        { class: "card" },
        el("details", {}, el("summary", {}, "Configuration of this job"), this.config),
      ),
    );
  }

  #checkpointCard() {
    const heads = ["Step", "Loss", "Size", "Written", "", ""];
    return el(
      "section",
      { class: "card scroll" },
      el("h2", {}, "Checkpoints"),
      el(
        "table",
        { "aria-label": "Checkpoints, newest first" },
        el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))),
        this.checkpoints,
      ),
    );
  }

  async #begin() {
    try {
      const job = await get(at("jobs", this.jobId), { signal: this.signal });
      setText(this.config, JSON.stringify(job.config, null, 2));
      this.#showState(job);
      await Promise.all([this.history.load(), this.#loadCheckpoints()]);
      this.timer = setInterval(() => this.#refreshState(), STATE_REFRESH);
      await this.#follow();
    } catch (error) {
      if (!this.signal.aborted) this.#fail(error);
    }
  }

  // One connection for the open job; it carries every kind of event.
  async #follow() {
    this.following = true;
    try {
      await follow(`${at("jobs", this.jobId, "stream")}?after_step=${this.history.lastStep}`, {
        signal: this.signal,
        onEvent: (name, data) => this.#onEvent(name, data),
        onState: (name) => connection({ live: "live", reconnecting: "reconnecting…" }[name] ?? ""),
      });
    } finally {
      this.following = false;
    }
  }

  #onEvent(name, data) {
    // Replayed states are old; the record itself is asked, soon and once.
    if (name === "state") this.#refreshStateSoon();
    else if (name === "metrics") this.history.add(data);
    else if (name === "checkpoint") this.#loadCheckpointsSoon();
    else if (name === "log") this.#addLine(data);
    else if (name === "rewound") {
      this.history.rewind(data.to_step);
      this.#loadCheckpointsSoon();
    }
  }

  #fail(error) {
    if (error.status === 401) throw error;
    notice(error.message);
  }

  #soon(name, delay, work) {
    this.waiting ??= {};
    this.waiting[name] ??= setTimeout(() => {
      this.waiting[name] = null;
      if (!this.signal.aborted) work();
    }, delay);
  }

  #refreshStateSoon() {
    this.#soon("state", 100, () => this.#refreshState(true));
  }

  #loadCheckpointsSoon() {
    this.#soon("checkpoints", 300, () => this.#loadCheckpoints().catch(() => {}));
  }

  #redrawSoon() {
    this.#soon("charts", 100, () => {
      for (const chart of this.charts) chart.show(this.history.points);
      if (this.job) this.#showState(this.job);
    });
  }

  async #refreshState(anyway = false) {
    const ended = this.job && !ACTIVE.includes(this.job.status);
    if (!anyway && (ended || document.visibilityState !== "visible")) return;
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
    setText(this.title, now.name);
    document.title = `${now.name} – ${now.status} – Training Engine`;
    if (before !== now.status) fill(this.badge, status(now.status));
    this.bar.value = now.progress;
    this.bar.setAttribute("aria-valuetext", percent(now.progress));
    this.stop.disabled = !["queued", "running"].includes(now.status);
    this.resume.disabled = ACTIVE.includes(now.status);
    this.remove.disabled = !["queued", "stopped", "succeeded", "failed"].includes(now.status);
    this.#showFacts(now);
    this.#showTrouble(now);
    // The whole record holds what the status leaves out; it changes with the state only.
    if (before && before !== now.status) this.#loadRecord();
    if (ACTIVE.includes(now.status) && before && !this.following) this.#follow().catch((error) => this.#fail(error));
  }

  async #loadRecord() {
    const job = await get(at("jobs", this.jobId), { signal: this.signal }).catch(() => null);
    if (job) this.#showState(job);
  }

  #showFacts(job) {
    const facts = {
      Step: `${count(job.current_step)} of ${count(job.max_steps)} (${percent(job.progress)})`,
      Remaining: job.status === "running" ? duration(job.eta_seconds) : "–",
      Loss: number(this.history.latest("loss")),
      "Validation loss": number(this.history.latest("val_loss")),
      "Tokens per second": count(Math.round(this.history.latest("tokens_per_second") ?? 0)),
      "Tokens seen": count(this.history.latest("tokens_seen")),
      Attempt: String(job.attempt),
      "Restored from step": job.resumed_from_step === null ? "fresh start" : count(job.resumed_from_step),
      Worker: job.worker_id ?? "–",
      Created: time(job.created_at),
      Started: time(job.started_at),
      Completed: time(job.completed_at),
      Dataset: job.dataset_path ?? "–",
      Id: job.job_id,
    };
    const shown = JSON.stringify(facts);
    if (shown === this.shownFacts) return;
    this.shownFacts = shown;
    fill(this.facts, Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  #showTrouble(job) {
    const lines = [
      ...(job.error ? [el("p", { class: "error" }, job.error)] : []),
      ...(job.message ? [el("p", {}, job.message)] : []),
      ...(job.exactness_notes ?? []).map((text) => el("p", { class: "soft" }, `No longer bitwise: ${text}`)),
      ...(job.warnings ?? []).map((warning) => el("p", { class: "soft" }, `Warning: ${warning.message}`)),
    ];
    fill(this.trouble, lines);
  }

  async #loadCheckpoints() {
    const path = `${at("jobs", this.jobId, "checkpoints")}?page_size=100`;
    const { checkpoints } = await get(path, { signal: this.signal });
    checkpoints.reverse(); // the API lists by step, ascending; the newest is what people want
    this.sampler.offer(checkpoints);
    fill(this.checkpoints, checkpoints.map((one) => this.#checkpointRow(one)));
    if (checkpoints.length === 0) {
      fill(this.checkpoints, el("tr", {}, el("td", { colspan: "6", class: "soft" }, "None yet.")));
    }
  }

  #checkpointRow(one) {
    const resume = () => this.#resume(one);
    return el(
      "tr",
      {},
      el("td", { class: "number" }, count(one.step), one.is_best ? " ★" : ""),
      el("td", { class: "number" }, number(one.loss)),
      el("td", { class: "number" }, bytes(one.size_bytes)),
      el("td", {}, time(one.created_at)),
      el("td", {}, el("a", { href: downloadUrl(one.checkpoint_id), download: true, "aria-label": `Download step ${one.step}` }, "Download")),
      el("td", {}, el("button", { type: "button", onclick: resume, "aria-label": `Resume from step ${one.step}` }, "Resume")),
    );
  }

  #addLine(line) {
    this.lines.push(line.text);
    if (this.lines.length > LOG_LINES) this.lines.splice(0, this.lines.length - LOG_LINES);
    this.#soon("log", 200, () => {
      const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 20;
      this.log.textContent = this.lines.join("\n");
      if (atEnd) this.log.scrollTop = this.log.scrollHeight;
    });
  }

  async #act(work) {
    notice("");
    try {
      await work();
    } catch (error) {
      this.#fail(error);
    }
    await this.#refreshState(true);
  }

  #stop() {
    if (!confirm(`Stop ${this.job.name}? It saves a checkpoint first and can be resumed.`)) return;
    this.#act(() => post(at("jobs", this.jobId, "stop")));
  }

  #resume(checkpoint = null) {
    const from = checkpoint ? `step ${checkpoint.step}; later steps are cut` : "its newest checkpoint";
    if (!confirm(`Resume ${this.job.name} from ${from}?`)) return;
    const body = checkpoint ? { checkpoint_id: checkpoint.checkpoint_id } : {};
    if (this.job.status === "succeeded" && !checkpoint) {
      const steps = Number(prompt("It has reached its last step. Train to which step?", 2 * this.job.max_steps));
      if (!steps) return;
      body.max_steps = steps;
    }
    this.#act(() => post(at("jobs", this.jobId, "resume"), body));
  }

  #delete() {
    if (!confirm(`Delete ${this.job.name} with its history, log and checkpoints?`)) return;
    this.#act(async () => {
      await send("DELETE", at("jobs", this.jobId));
      location.hash = "#/";
    });
  }
}
