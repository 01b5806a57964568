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
    this.averaged = el("input", { type: "checkbox" });
    this.ofAverage = el("label", { hidden: true }, this.averaged, " averaged weights");
    this.temperature = el("input", { type: "number", min: "0", step: "0.1", value: "0.8", required: true });
    this.options = new Options();
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
        this.ofAverage,
        el("span", { class: "together" }, this.go, this.cancel),
      ),
      this.options.element,
    );
    this.element = el("section", { class: "card" }, el("h2", {}, "Sample text"), form, this.trouble, this.output);
    this.#say("");
  }

  // Newest first. `ended`: no other one will be saved. `hasAverage`: they hold averages of the weights.
  offer(checkpoints, ended, hasAverage) {
    this.ended = ended;
    this.ofAverage.hidden = !hasAverage;
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
    const options = this.options.values();
    const prompt = this.prompt.value;
    const shown = options.chat ? "" : prompt;
    this.#say(shown || " ");
    this.written.textContent = "";
    this.trouble.textContent = "";
    try {
      const response = await send("POST", at("checkpoints", this.checkpoint.value, "generate"), {
        signal: controller.signal,
        body: {
          ...(options.chat ? { messages: [{ role: "user", content: prompt }] } : { prompt }),
          max_tokens: this.tokens.valueAsNumber,
          temperature: this.temperature.valueAsNumber,
          ...options.fields,
          averaged: this.averaged.checked,
        },
      });
      const samples = options.fields.num_samples ?? 1;
      let ended = false;
      let sample = 0;
      for await (const { event, data } of read(response)) {
        if (event === "error") this.trouble.textContent = data.detail;
        else {
          if (data.sample > sample) this.written.append(`\n\n${shown}`);
          sample = data.sample ?? 0;
          if (data.dropped_prompt_tokens) this.trouble.textContent = cut(data);
          this.written.append(data.text);
        }
        ended ||= event === "error" || Boolean(data.finish_reason && sample === samples - 1);
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

// What few people set. An empty field leaves its option out.
class Options {
  constructor() {
    const number = (attributes) => el("input", { type: "number", step: "any", ...attributes });
    this.numbers = {
      top_k: number({ min: "1", step: "1" }),
      top_p: number({ min: "0", max: "1" }),
      min_p: number({ min: "0", max: "1" }),
      repetition_penalty: number({ min: "0" }),
      num_samples: number({ min: "1", max: "64", step: "1" }),
      seed: number({ min: "0", step: "1" }),
    };
    this.stop = el("textarea", { rows: "2", spellcheck: "false", placeholder: "Texts that end a sample, one a line" });
    this.chat = el("input", { type: "checkbox" });
    const labels = ["Top k", "Top p", "Min p", "Repetition penalty", "Samples", "Seed"];
    const fields = Object.values(this.numbers).map((field, index) => el("label", {}, labels[index], field));
    this.element = el(
      "details",
      {},
      el("summary", {}, "More options"),
      el("label", { class: "check" }, this.chat, "The prompt is a chat message: answer it by the checkpoint’s chat template"),
      el("div", { class: "row" }, fields),
      el("label", {}, "Stop", this.stop),
    );
  }

  values() {
    const given = Object.entries(this.numbers).filter(([, field]) => field.value !== "");
    const fields = Object.fromEntries(given.map(([name, field]) => [name, field.valueAsNumber]));
    const stop = this.stop.value.split("\n").filter(Boolean);
    return { chat: this.chat.checked, fields: stop.length ? { ...fields, stop } : fields };
  }
}

const cut = ({ prompt_tokens: all, dropped_prompt_tokens: dropped }) =>
  `The prompt has ${count(all)} tokens; the model sees the last ${count(all - dropped)}, which are all that its context takes.`;

const option = (one) =>
  el("option", { value: one.checkpoint_id }, `step ${count(one.step)}${one.is_best ? " (best)" : ""}`);
