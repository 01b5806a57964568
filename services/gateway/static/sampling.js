// Text from a checkpoint, token by token.

import { ApiError, at, send } from "./api.js";
import { el, Kept, setText } from "./dom.js";
import { read } from "./events.js";
import { count } from "./format.js";

const CUT_SHORT = "The text is cut short: the gateway’s answer broke off before its last token. Sample again.";

export class Sampler {
  constructor() {
    // Follows the newest checkpoint until the reader chooses another.
    this.chosen = null;
    this.checkpoint = el("select", { onchange: () => (this.chosen = this.checkpoint.value) });
    this.offered = new Kept(this.checkpoint, { keyOf: (one) => one.checkpoint_id, make: option });
    this.prompt = el("textarea", { rows: "2", spellcheck: "false", placeholder: "Text to continue; it may be empty" });
    this.tokens = el("input", { type: "number", min: "1", max: "100000", value: "200", required: true });
    this.temperature = el("input", { type: "number", min: "0", step: "0.1", value: "0.8", required: true });
    this.go = el("button", { type: "submit", disabled: true }, "Sample");
    this.cancel = el("button", { type: "button", disabled: true, onclick: () => this.controller?.abort() }, "Cancel");
    this.given = el("span", { class: "soft" });
    this.written = el("span");
    this.trouble = el("p", { class: "error", role: "alert" });
    this.output = el("pre", { class: "sample", tabindex: "0", role: "log", "aria-label": "Sampled text" }, this.given, this.written);
    const form = el(
      "form",
      { onsubmit: (event) => (event.preventDefault(), this.#sample()) },
      el("label", {}, "Prompt", this.prompt),
      el(
        "div",
        { class: "row" },
        el("label", {}, "Checkpoint", this.checkpoint),
        el("label", {}, "Tokens", this.tokens),
        el("label", {}, "Temperature", this.temperature),
        el("span", { class: "together" }, this.go, this.cancel),
      ),
    );
    this.element = el("section", { class: "card" }, el("h2", {}, "Sample text"), form, this.trouble, this.output);
    this.#say("");
  }

  // Newest first. `ended`: no other one will be saved.
  offer(checkpoints, ended) {
    this.ended = ended;
    this.offered.show(checkpoints);
    const chosen = checkpoints.find((one) => one.checkpoint_id === this.chosen) ?? checkpoints[0];
    if (chosen) this.checkpoint.value = chosen.checkpoint_id;
    this.#enable();
    if (!this.written.textContent && !this.controller) this.#say("");
  }

  close() {
    this.controller?.abort();
  }

  #enable() {
    this.go.disabled = this.checkpoint.options.length === 0 || Boolean(this.controller);
    this.cancel.disabled = !this.controller;
  }

  #say(text) {
    let hint = "What the model writes appears here.";
    if (!this.checkpoint.options.length) {
      hint = this.ended
        ? "Sampling needs a checkpoint, and this job has none."
        : "Sampling needs a checkpoint; the first is saved after save_steps steps, or when the job is stopped.";
    }
    setText(this.given, text || hint);
  }

  async #sample() {
    const controller = new AbortController();
    this.controller = controller;
    this.#enable();
    this.#say(this.prompt.value || " ");
    this.written.textContent = "";
    this.trouble.textContent = "";
    try {
      const response = await send("POST", at("checkpoints", this.checkpoint.value, "generate"), {
        signal: controller.signal,
        body: {
          prompt: this.prompt.value,
          max_tokens: this.tokens.valueAsNumber,
          temperature: this.temperature.valueAsNumber,
        },
      });
      let ended = false;
      for await (const { event, data } of read(response)) {
        if (event === "error") this.trouble.textContent = data.detail;
        else this.written.append(data.text);
        ended ||= event === "error" || Boolean(data.finish_reason);
        this.output.scrollTop = this.output.scrollHeight;
      }
      if (!ended && !controller.signal.aborted) this.trouble.textContent = CUT_SHORT;
    } catch (error) {
      // Anything but a refusal is a connection that broke while the text came.
      const said = error instanceof ApiError ? error.message : CUT_SHORT;
      if (!controller.signal.aborted) this.trouble.textContent = said;
    } finally {
      this.controller = null;
      this.#enable();
    }
  }
}

const option = (one) =>
  el("option", { value: one.checkpoint_id }, `step ${count(one.step)}${one.is_best ? " (best)" : ""}`);
