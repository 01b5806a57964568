// Tags and notes of a job that is about to be started.

import { el, fill } from "./dom.js";

export class AnnotationFields {
  constructor() {
    this.tags = el("input", { type: "text", autocomplete: "off", "aria-describedby": "annotation-problems" });
    this.notes = el("textarea", { rows: "2", "aria-describedby": "annotation-problems" });
    this.problems = el("ul", { id: "annotation-problems", class: "problems" });
    this.elements = [
      el("div", {}, el("label", {}, el("span", {}, "Tags ", el("small", {}, "(words with spaces between them; may be empty)")), this.tags)),
      el("label", {}, el("span", {}, "Notes ", el("small", {}, "(may be empty)")), this.notes),
      this.problems,
    ];
  }

  get value() {
    return { tags: this.tags.value.split(/[\s,]+/).filter(Boolean), notes: this.notes.value.trim() || null };
  }

  // Shows those problems that are of tags or notes, and returns the others.
  take(problems) {
    const own = problems.filter(({ field }) => ["tags", "notes"].includes(field));
    for (const name of ["tags", "notes"]) this[name].setAttribute("aria-invalid", String(own.some(({ field }) => field === name)));
    fill(this.problems, own.map(({ message }) => el("li", {}, message)));
    if (own.length) this[own[0].field].focus();
    return problems.filter((problem) => !own.includes(problem));
  }
}
