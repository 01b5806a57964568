// Chooses the runs of a comparison: by a part of the name, a tag, or the state.

import { get } from "./api.js";
import { MOST_RUNS } from "./compare_state.js";
import { el, fill, setText } from "./dom.js";
import { many } from "./format.js";

const NEWEST = 1000;
const SHOWN = 200;

export class RunPicker {
  // onChange is called with the ids that are chosen.
  constructor(chosen, signal, onChange) {
    this.chosen = new Set(chosen);
    this.signal = signal;
    this.onChange = onChange;
    this.jobs = [];
    this.filter = el("input", { type: "search", id: "run-filter", oninput: () => this.#show() });
    this.said = el("p", { class: "hint", role: "status" });
    this.list = el("ul", { class: "picker" });
    const all = el("button", { type: "button", onclick: () => this.#set(this.#found().map((job) => job.job_id), true) }, "Choose all shown");
    const none = el("button", { type: "button", onclick: () => this.#set([...this.chosen], false) }, "Choose none");
    this.element = el(
      "details",
      { class: "card", open: chosen.length === 0, ontoggle: () => this.#load() },
      el("summary", {}, "Runs"),
      el("div", { class: "row" }, el("label", {}, "Name, tag or state", this.filter), all, none),
      this.said,
      this.list,
    );
  }

  // Once it is open: a comparison that is only looked at needs no list of all jobs.
  async #load() {
    if (!this.element.open || this.jobs.length) return;
    try {
      this.jobs = (await get(`/jobs?page_size=${NEWEST}`, { signal: this.signal })).jobs;
      this.#show();
    } catch (error) {
      if (!this.signal.aborted) setText(this.said, error.message);
    }
  }

  #found() {
    const wanted = this.filter.value.trim().toLowerCase();
    const fits = (job) => [job.name, job.job_id, job.status, ...(job.tags ?? [])].some((text) => text?.toLowerCase().includes(wanted));
    return this.jobs.filter(fits).slice(0, SHOWN);
  }

  #show() {
    const found = this.#found();
    fill(this.list, found.map((job) => this.#row(job)));
    setText(this.said, `${many(found.length, "run")} shown, ${this.chosen.size} chosen; a comparison has at most ${MOST_RUNS}.`);
  }

  #row(job) {
    const box = el("input", { type: "checkbox", onchange: () => this.#set([job.job_id], box.checked) });
    box.checked = this.chosen.has(job.job_id);
    return el("li", {}, el("label", { class: "check" }, box, `${job.name || job.job_id} (${job.status})`));
  }

  #set(ids, wanted) {
    for (const id of ids) {
      if (!wanted) this.chosen.delete(id);
      else if (this.chosen.size < MOST_RUNS) this.chosen.add(id);
    }
    this.#show();
    this.onChange([...this.chosen]);
  }
}
