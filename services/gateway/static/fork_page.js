// Starts a job from a checkpoint of another: what changes in its configuration, and what it keeps.

import { AnnotationFields } from "./annotation_fields.js";
import { at, get, post } from "./api.js";
import { DatasetPicker } from "./dataset_picker.js";
import { el, fill, notice } from "./dom.js";
import { count, many } from "./format.js";

export class ForkPage {
  constructor(page, checkpointId) {
    this.checkpointId = checkpointId;
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.origin = el("p", { class: "soft" }, "\u00a0");
    this.name = el("input", { type: "text", maxlength: "200" });
    this.annotations = new AnnotationFields();
    this.data = new DatasetPicker(this.signal, () => {}, "Empty: the data of its parent.");
    this.optimizer = el(
      "select",
      {},
      el("option", { value: "kept" }, "kept: go on after this step"),
      el("option", { value: "fresh" }, "fresh: begin at step 0 with these weights"),
    );
    this.changes = el("textarea", {
      class: "code",
      rows: "8",
      spellcheck: "false",
      placeholder: "learning_rate: 1e-4\nmax_steps: 2000",
      "aria-describedby": "fork-problems",
    });
    this.problems = el("ul", { id: "fork-problems", class: "problems" });
    this.go = el("button", { type: "submit", class: "primary" }, "Fork");
    fill(page, this.#form());
    document.title = "Fork – Training Engine";
    this.#describe();
  }

  close() {
    this.controller.abort();
  }

  #form() {
    return el(
      "form",
      { onsubmit: (event) => (event.preventDefault(), this.#start()), "aria-labelledby": "fork-title", novalidate: true },
      el("div", { class: "head" }, el("h1", { id: "fork-title" }, "Fork a job")),
      el(
        "section",
        { class: "card" },
        this.origin,
        el("label", {}, el("span", {}, "Name ", el("small", {}, "(may be empty)")), this.name),
        this.annotations.elements,
        el("label", {}, "Optimizer", this.optimizer),
        el("label", {}, el("span", {}, "What changes ", el("small", {}, "(YAML or JSON; the rest is its parent’s)")), this.changes),
        this.problems,
        this.data.element,
      ),
      el("div", { class: "row end" }, el("button", { type: "button", onclick: () => history.back() }, "Cancel"), this.go),
    );
  }

  async #describe() {
    try {
      const checkpoint = await get(at("checkpoints", this.checkpointId), { signal: this.signal });
      const job = await get(at("jobs", checkpoint.job_id, "status"), { signal: this.signal });
      const link = el("a", { href: `#/jobs/${encodeURIComponent(job.job_id)}` }, job.name);
      fill(this.origin, `From step ${count(checkpoint.step)} of `, link, ".");
    } catch (error) {
      if (!this.signal.aborted) notice(error.message);
    }
  }

  async #start() {
    if (this.go.disabled) return;
    this.go.disabled = true;
    notice("");
    try {
      const job = await post("/jobs/fork", {
        checkpoint_id: this.checkpointId,
        optimizer: this.optimizer.value,
        config: this.changes.value.trim() || null,
        dataset_path: this.data.value,
        name: this.name.value.trim() || null,
        ...this.annotations.value,
      });
      location.hash = `#/jobs/${encodeURIComponent(job.job_id)}`;
    } catch (error) {
      if (!this.signal.aborted) this.#refuse(error);
    } finally {
      this.go.disabled = false;
    }
  }

  #refuse(error) {
    const found = error.fields;
    const others = this.annotations.take(found);
    this.changes.setAttribute("aria-invalid", String(others.length > 0));
    fill(this.problems, others.map(({ message }) => el("li", {}, message)));
    notice(found.length ? `The job was not started: ${many(found.length, "problem")}, listed below.` : error.message);
    if (others.length === found.length) this.changes.focus();
  }
}
