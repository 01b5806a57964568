// A job's checkpoints, newest first: what to download, what to resume from or to fork.

import { urlOf } from "./api.js";
import { el, Kept } from "./dom.js";
import { bytes, count, number, time } from "./format.js";

const HEADS = [
  ["Step", "number"],
  ["Loss", "number"],
  ["Validation", "number"],
  ["Size", "number wide"],
  ["Written", "number wide"],
  ["", ""],
];
// What a job's best_metric is called here: "validation loss" for val_loss.
const inWords = (metric) => metric.replace(/^val_/, "validation ").replaceAll("_", " ");

export class CheckpointTable {
  // onResume is called with the checkpoint to go on from.
  constructor(onResume) {
    this.onResume = onResume;
    this.resumable = false;
    this.rows = el("tbody", {}, message("…"));
    this.kept = new Kept(this.rows, {
      keyOf: (one) => one.checkpoint_id ?? one,
      make: (one) => (one.checkpoint_id ? this.#row(one) : message(one)),
    });
    this.element = el(
      "section",
      { class: "card" },
      el("h2", {}, "Checkpoints"),
      el(
        "div",
        { class: "scroll" },
        el(
          "table",
          { "aria-label": "Checkpoints, newest first" },
          el("thead", {}, el("tr", {}, HEADS.map(([name, kind]) => el("th", { scope: "col", class: kind }, name)))),
          this.rows,
        ),
      ),
    );
  }

  // `ended`: no other one will be saved. `bestMetric` is what the best one is decided by.
  show(checkpoints, { ended, bestMetric }) {
    this.bestMetric = bestMetric;
    const none = ended
      ? "None was saved."
      : "None yet. The first is saved after save_steps steps, or when the job is stopped.";
    this.kept.show(checkpoints.length ? checkpoints : [none]);
  }

  // Only a job that has ended can go on from one of its checkpoints.
  allowResume(allowed) {
    if (this.resumable === allowed) return;
    this.resumable = allowed;
    for (const button of this.rows.querySelectorAll("button")) button.disabled = !allowed;
  }

  #row(one) {
    const download = el(
      "a",
      {
        class: "button",
        href: urlOf("checkpoints", one.checkpoint_id, "download"),
        download: true,
        "aria-label": `Download step ${one.step}`,
      },
      "Download",
    );
    const resume = el(
      "button",
      {
        type: "button",
        disabled: !this.resumable,
        onclick: () => this.onResume(one),
        "aria-label": `Resume from step ${one.step}`,
      },
      "Resume",
    );
    const fork = el(
      "a",
      {
        class: "button",
        href: `#/fork/${encodeURIComponent(one.checkpoint_id)}`,
        "aria-label": `Fork step ${one.step}`,
      },
      "Fork",
    );
    const why = `the smallest ${inWords(this.bestMetric)}`;
    const best = one.is_best && el("span", { class: "best", title: why }, "best");
    return el(
      "tr",
      {},
      el("td", { class: "number" }, best, count(one.step)),
      el("td", { class: "number" }, number(one.loss)),
      el("td", { class: "number" }, number(one.val_loss)),
      el("td", { class: "number wide" }, bytes(one.size_bytes)),
      el("td", { class: "number wide" }, time(one.created_at)),
      el("td", { class: "end" }, el("span", { class: "together" }, download, fork, resume)),
    );
  }
}

const message = (text) => el("tr", {}, el("td", { colspan: HEADS.length, class: "soft sentence" }, text));
