// Text from a checkpoint, token by token.

import { at, send } from "./api.js";
import { el } from "./dom.js";
import { read } from "./events.js";

export class Sampler {
  constructor() {
    this.checkpoint = el("select", {});
    this.prompt = el("textarea", { rows: "2", spellcheck: "false" });
    this.tokens = el("input", { type: "number", min: "1", max: "100000", value: "200" });
    this.temperature = el("input", { type: "number", min: "0", step: "0.1", value: "0.8" });
    this.go = el("button", { type: "submit" }, "Sample");
    this.cancel = el("button", { type: "button", disabled: true }, "Cancel");
    this.output = el("pre", { "aria-live": "polite", "aria-label": "Sampled text" });
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
        this.go,
        this.cancel,
      ),
    );
    this.cancel.addEventListener("click", () => this.controller?.abort());
    this.element = el("section", { class: "card" }, el("h2", {}, "Sample text"), form, this.output);
  }

  offer(checkpoints) {
    const chosen = this.checkpoint.value;
    this.checkpoint.replaceChildren(
      ...checkpoints.map((one) =>
        el("option", { value: one.checkpoint_id }, `step ${one.step}${one.is_best ? " (best)" : ""}`),
      ),
    );
    if (checkpoints.some((one) => one.checkpoint_id === chosen)) this.checkpoint.value = chosen;
    this.go.disabled = checkpoints.length === 0 || Boolean(this.controller);
  }

  close() {
    this.controller?.abort();
  }

  async #sample() {
    const controller = new AbortController();
    this.controller = controller;
    this.go.disabled = true;
    this.cancel.disabled = false;
    this.output.textContent = this.prompt.value;
    try {
      const response = await send("POST", at("checkpoints", this.checkpoint.value, "generate"), {
        signal: controller.signal,
        body: {
          prompt: this.prompt.value,
          max_tokens: Number(this.tokens.value),
          temperature: Number(this.temperature.value),
        },
      });
      for await (const { event, data } of read(response)) {
        this.output.append(event === "error" ? `\n[${data.detail}]` : data.text);
      }
    } catch (error) {
      if (!controller.signal.aborted) this.output.append(`\n[${error.message}]`);
    } finally {
      this.controller = null;
      this.go.disabled = false;
      this.cancel.disabled = true;
    }
  }
}
