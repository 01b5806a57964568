// The state of a job: its progress, the numbers that people look for first, and its details.

import { comparisonOf } from "./compare_state.js";
import { el, fill, setText } from "./dom.js";
import { NONE, bytes, count, duration, number, percent, rounded, time } from "./format.js";

export class JobSummary {
  constructor() {
    this.bar = el("progress", { max: "1", value: "0", "aria-label": "Progress" });
    this.where = el("p", { class: "where" }, "\u00a0");
    this.trouble = el("div");
    this.numbers = facts("numbers", ["Loss", "Validation loss", "Bits per byte", "Tokens per second", "Tokens seen"]);
    this.details = facts("facts", ["Attempt", "Worker", "Created", "Ran for", "Dataset", "Id"]);
    this.element = el(
      "section",
      { class: "card", "aria-label": "State" },
      this.bar,
      this.where,
      this.trouble,
      this.numbers.element,
      this.details.element,
    );
  }

  show(job, history) {
    const share = isPreparing(job) ? job.phase_done / job.phase_total : job.progress;
    this.bar.value = share;
    this.bar.setAttribute("aria-valuetext", percent(share));
    setText(this.where, where(job));
    this.numbers.set({
      Loss: number(history.latest("loss")),
      "Validation loss": number(history.latest("val_loss")),
      "Bits per byte": number(history.latest("val_bits_per_byte")),
      "Tokens per second": rounded(history.latest("tokens_per_second")),
      "Tokens seen": count(history.latest("tokens_seen")),
    });
    this.details.set({
      Attempt: attempt(job),
      Worker: job.worker_id ?? NONE,
      Created: time(job.created_at),
      "Ran for": job.started_at ? duration(job.running_seconds) : NONE,
      Dataset: job.dataset_path ?? NONE,
      Id: job.job_id,
    });
    this.#showTrouble(job);
  }

  #showTrouble(job) {
    const lines = [
      job.error && ["error", job.error],
      job.message && ["", job.message],
      job.model_summary && ["soft", `Model: ${job.model_summary}`],
      job.config?.initial_weights && ["soft", `Begins with: ${job.config.initial_weights}`],
      job.config?.initial_adapter && ["soft", `Its adapter: ${job.config.initial_adapter}`],
      job.data_summary && ["soft", `Data: ${job.data_summary}`],
      job.environment && ["soft", `Runs on: ${job.environment}`],
      job.parent_job_id && ["soft", lineage(job)],
      job.sweep_id && ["soft", placeInSweep(job)],
      ...(job.exactness_notes ?? []).map((text) => ["soft", `No longer bitwise: ${text}`]),
      ...(job.warnings ?? []).map((warning) => ["soft", `Warning: ${warning.message}`]),
    ].filter(Boolean);
    const shown = JSON.stringify(lines.map(([kind, text]) => [kind, text.outerHTML ?? text]));
    if (shown === this.shown) return;
    this.shown = shown;
    fill(this.trouble, lines.map(([kind, text]) => el("p", { class: kind || null }, text)));
  }
}

function placeInSweep(job) {
  const sweep = el("a", { href: `#/sweeps/${encodeURIComponent(job.sweep_id)}` }, job.sweep_id);
  return el("span", {}, `Child ${job.sweep_child} of sweep `, sweep);
}

// Where a fork comes from. The parent may have been deleted since; its page says so then.
function lineage(job) {
  const parent = el("a", { href: `#/jobs/${encodeURIComponent(job.parent_job_id)}` }, job.parent_job_id);
  const both = el("a", { href: comparisonOf([job.parent_job_id, job.job_id], "lineage_step") }, "compare");
  return el("span", {}, `Forked from step ${count(job.fork_step)} of `, parent, `, optimizer ${job.fork_optimizer} (`, both, ")");
}

function where(job) {
  const parts = [`step ${count(job.current_step)} of ${count(job.max_steps)}`, percent(job.progress)];
  if (job.status === "queued") parts.push("waits for a worker");
  if (job.status === "stopping") parts.push("saves a checkpoint, then stops");
  if (phase(job)) parts.push(phase(job));
  if (job.status === "running" && job.eta_seconds !== null) parts.push(`${duration(job.eta_seconds)} left`);
  return parts.join(" · ");
}

// What a step count does not tell: "validating 12/80", "saving", "tokenizing 1.2 GiB of 4.0 GiB".
function phase(job) {
  if (job.status === "stopping" || !job.phase || job.phase === "training") return "";
  if (isPreparing(job)) return preparation(job);
  if (job.phase === "training_tokenizer") return `training the tokenizer, ${duration(job.phase_done ?? 0)}`;
  return job.phase_total ? `${job.phase} ${count(job.phase_done)}/${count(job.phase_total)}` : job.phase;
}

// Before the first step the data is read and tokenized; the bar shows how far that is.
function isPreparing(job) {
  return ["reading", "tokenizing"].includes(job.phase) && job.phase_total > 0;
}

function preparation(job) {
  const text = `${job.phase} ${bytes(job.phase_done)} of ${bytes(job.phase_total)}`;
  const speed = job.phase_per_second;
  const left = (job.phase_total - job.phase_done) / speed;
  return speed ? `${text}, ${bytes(Math.round(speed))}/s, ${duration(left)} left` : text;
}

function attempt(job) {
  if (job.resumed_from_step === null || job.resumed_from_step === undefined) return String(job.attempt);
  return `${job.attempt}, restored from step ${count(job.resumed_from_step)}`;
}

// A list of terms whose places never change, so that nothing jumps when values come.
function facts(kind, names) {
  const values = Object.fromEntries(names.map((name) => [name, el("dd", {}, NONE)]));
  const element = el("dl", { class: kind }, names.map((name) => el("div", {}, el("dt", {}, name), values[name])));
  const set = (texts) => Object.entries(texts).forEach(([name, text]) => setText(values[name], text));
  return { element, set };
}
