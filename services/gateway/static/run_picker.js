// Chooses the runs of a comparison: by words in names, tags and notes, and by state. The service
// searches, so that old runs are found too.

import { get } from "./api.js";
import { MOST_RUNS } from "./compare_state.js";
import { el, Kept, setText } from "./dom.js";
import { many } from "./format.js";
import { STATES } from "./job_filters.js";

const SHOWN = 200;
// After the last letter of a search.
const PAUSE = 300;

export class RunPicker {
  // onChange is called with the ids that are chosen.
  constructor(chosen, signal, onChange) {
    this.chosen = new Set(chosen);
    this.signal = signal;
    this.onChange = onChange;
    this.jobs = [];
    this.search = el("input", { type: "search", maxlength: 200, oninput: () => this.#typed(), onsearch: () => this.#read() });
    this.status = el("select", { onchange: () => this.#read() }, el("option", { value: "" }, "any"), STATES.map((name) => el("option", { value: name }, name)));
    this.said = el("p", { class: "hint", role: "status" });
    this.list = el("ul", { class: "picker", onchange: ({ target }) => this.#set([target.value], target.checked) });
    this.rows = new Kept(this.list, { keyOf: (job) => job.job_id, make: row });
    const all = el("button", { type: "button", onclick: () => this.#set(this.jobs.map((job) => job.job_id), true) }, "Choose all shown");
    const none = el("button", { type: "button", onclick: () => this.#set([...this.chosen], false) }, "Choose none");
    this.element = el(
      "details",
      { class: "card", open: chosen.length === 0, ontoggle: () => this.#opened() },
      el("summary", {}, "Runs"),
      el("div", { class: "row fields" }, el("label", {}, "Words in name, tags or notes", this.search), el("label", {}, "State", this.status), all, none),
      this.said,
      this.list,
    );
  }

  // Only these, of those that are chosen: the others are not there any more.
  keep(ids) {
    for (const id of this.chosen) if (!ids.includes(id)) this.chosen.delete(id);
    this.#show();
  }

  // Once it is open: a comparison that is only looked at needs no list of jobs.
  #opened() {
    if (this.element.open && !this.jobs.length) this.#read();
  }

  #typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#read(), PAUSE);
  }

  async #read() {
    clearTimeout(this.timer);
    const asked = (this.asked = Symbol("search"));
    try {
      const { jobs, more } = await this.#found(() => asked === this.asked);
      if (asked !== this.asked || this.signal.aborted) return;
      [this.jobs, this.more] = [jobs, more];
      this.#show();
    } catch (error) {
      if (!this.signal.aborted && asked === this.asked) setText(this.said, error.message);
    }
  }

  // A page of a search may be empty and still have a next one.
  async #found(isWanted) {
    const query = new URLSearchParams({ page_size: SHOWN });
    if (this.search.value.trim()) query.set("search", this.search.value.trim());
    if (this.status.value) query.set("status", this.status.value);
    const jobs = [];
    let token = "";
    do {
      if (token) query.set("page_token", token);
      const page = await get(`/jobs?${query}`, { signal: this.signal });
      jobs.push(...page.jobs);
      token = page.next_page_token;
    } while (token && jobs.length < SHOWN && isWanted());
    return { jobs: jobs.slice(0, SHOWN), more: Boolean(token) || jobs.length > SHOWN };
  }

  #show() {
    this.rows.show(this.jobs);
    for (const box of this.list.querySelectorAll("input")) box.checked = this.chosen.has(box.value);
    const shown = this.more ? `The newest ${this.jobs.length} are shown` : `${many(this.jobs.length, "run")} shown`;
    setText(this.said, `${shown}, ${this.chosen.size} chosen; a comparison has at most ${MOST_RUNS}.`);
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

function row(job) {
  const tags = job.tags.length > 0 && el("span", { class: "tags" }, job.tags.map((tag) => el("span", { class: "tag" }, tag)));
  return el("li", {}, el("label", { class: "check" }, el("input", { type: "checkbox", value: job.job_id }), el("span", {}, `${job.name || job.job_id} (${job.status}) `, tags)));
}
