// The tags and the notes of one job, and how they are changed.

import { at, patch } from "./api.js";
import { el, fill, setText } from "./dom.js";

export class JobNotes {
  // `onChange` gets the changed job.
  constructor(jobId, onChange) {
    this.path = at("jobs", jobId);
    this.onChange = onChange;
    this.chips = el("span", { class: "tags" });
    this.tag = el("input", { type: "text", maxlength: 64, autocomplete: "off", required: true, placeholder: "New tag" });
    this.text = el("p", { class: "notes" });
    this.edit = el("button", { type: "button", onclick: () => this.#begin() }, "Edit notes");
    this.area = el("textarea", { "aria-label": "Notes" });
    this.form = el(
      "form",
      { hidden: true, onsubmit: (event) => this.#save(event) },
      this.area,
      el(
        "div",
        { class: "row" },
        el("button", { class: "primary" }, "Save notes"),
        el("button", { type: "button", onclick: () => this.#end() }, "Cancel"),
      ),
    );
    this.trouble = el("p", { class: "error", role: "alert" });
    const add = (event) => {
      event.preventDefault();
      this.#change({ add_tags: [this.tag.value.trim()] }).then((done) => done && (this.tag.value = ""));
    };
    this.element = el(
      "section",
      { class: "card", "aria-label": "Tags and notes" },
      el(
        "form",
        { class: "row", onsubmit: add },
        this.chips,
        el("label", {}, el("span", { class: "unseen" }, "New tag"), this.tag),
        el("button", {}, "Add tag"),
        this.edit,
      ),
      this.text,
      this.form,
      this.trouble,
    );
  }

  show(job) {
    this.notes = job.notes ?? "";
    setText(this.text, this.notes);
    this.text.hidden = !this.notes || !this.form.hidden;
    const shown = (job.tags ?? []).join(" ");
    if (shown === this.shown) return;
    this.shown = shown;
    fill(this.chips, (job.tags ?? []).map((tag) => this.#chip(tag)));
  }

  #chip(tag) {
    return el(
      "span",
      { class: "tag" },
      el("a", { href: `#/?${new URLSearchParams({ tag })}` }, tag),
      el("button", { type: "button", class: "plain", "aria-label": `Remove tag ${tag}`, onclick: () => this.#change({ remove_tags: [tag] }) }, "×"),
    );
  }

  #begin() {
    this.area.value = this.notes;
    this.form.hidden = false;
    this.text.hidden = true;
    this.edit.disabled = true;
    this.area.focus();
  }

  #end() {
    this.form.hidden = true;
    this.text.hidden = !this.notes;
    this.edit.disabled = false;
    this.edit.focus();
  }

  async #save(event) {
    event.preventDefault();
    if (await this.#change({ notes: this.area.value })) this.#end();
  }

  async #change(body) {
    this.trouble.textContent = "";
    try {
      this.onChange(await patch(this.path, body));
      return true;
    } catch (error) {
      this.trouble.textContent = error.message;
      return false;
    }
  }
}
