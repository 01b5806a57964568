// What narrows the list of jobs: state, words, tags, and how far back. The address keeps it, so that
// reload, bookmarks and the back button work.

import { el, fill } from "./dom.js";

export const STATES = ["queued", "running", "stopping", "stopped", "succeeded", "failed"];
// After the last letter of a search.
const PAUSE = 300;

export class JobFilters {
  // `query`: of the address. `onChange` is called once the address has the change.
  constructor(query, onChange) {
    this.onChange = onChange;
    this.tags = query.getAll("tag");
    this.page = query.get("page") ?? "";
    this.status = el(
      "select",
      { onchange: () => this.#change() },
      el("option", { value: "" }, "all jobs"),
      STATES.map((name) => el("option", { value: name }, name)),
    );
    this.status.value = STATES.includes(query.get("status")) ? query.get("status") : "";
    this.search = el("input", {
      type: "search",
      value: query.get("search"),
      placeholder: "Search",
      maxlength: 200,
      oninput: () => this.#typed(),
      // On Enter at once, and where the field is emptied by its cross.
      onsearch: () => this.#change({ letters: true }),
    });
    this.chips = el("span", { class: "tags" });
    this.elements = [
      el("label", {}, el("span", { class: "unseen" }, "Search in names, tags and notes"), this.search),
      el("label", { class: "soft" }, el("span", { class: "unseen" }, "Show"), this.status),
    ];
    this.#showTags();
  }

  close() {
    clearTimeout(this.timer);
  }

  get narrowed() {
    return Boolean(this.status.value || this.search.value.trim() || this.tags.length);
  }

  // What the API is asked for.
  query(size) {
    return this.#parameters({ page_size: size }, "tags", "page_token");
  }

  addTag(tag) {
    if (!this.tags.includes(tag)) this.tags.push(tag);
    this.#change();
  }

  // The page of a token; of none, the newest jobs.
  open(page) {
    this.#change({ page });
  }

  #parameters(start, tags, page) {
    const parameters = new URLSearchParams(start);
    if (this.status.value) parameters.set("status", this.status.value);
    if (this.search.value.trim()) parameters.set("search", this.search.value.trim());
    for (const tag of this.tags) parameters.append(tags, tag);
    if (this.page) parameters.set(page, this.page);
    return parameters;
  }

  #typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#change({ letters: true }), PAUSE);
  }

  // Another filter begins at the newest jobs. The letters of one search are one entry of the back
  // button, not one each.
  #change({ page = "", letters = false } = {}) {
    clearTimeout(this.timer);
    this.page = page;
    const text = this.#parameters({}, "tag", "page").toString();
    const address = text ? `#/?${text}` : "#/";
    if (address === (location.hash || "#/")) return;
    history[letters && this.typing ? "replaceState" : "pushState"](null, "", address);
    this.typing = letters;
    this.#showTags();
    this.onChange();
  }

  #showTags() {
    const drop = (tag) => {
      this.tags = this.tags.filter((one) => one !== tag);
      this.#change();
    };
    fill(
      this.chips,
      this.tags.map((tag) =>
        el("button", { type: "button", class: "tag", "aria-label": `No longer only tag ${tag}`, onclick: () => drop(tag) }, `${tag} ×`),
      ),
    );
  }
}
