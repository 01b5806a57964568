// The form that samples text from a checkpoint, and the text, which appears token by token.

import { ApiError, at, send } from "./api.js";
import { el, Kept, setText } from "./dom.js";
import { read } from "./events.js";
import { count } from "./format.js";

const BROKE_OFF = "The text is cut short: the gateway’s answer broke off before its last token. Sample again.";

export class Sampler {
  constructor() {
    // Follows the newest checkpoint until the reader chooses another.
    this.chosen = null;
    this.checkpoint = el("select", { onchange: () => (this.chosen = this.checkpoint.value) });
    this.checkpoints = new Kept(this.checkpoint, { keyOf: (one) => one.checkpoint_id, make: option });
    this.prompt = el("textarea", { rows: "2", spellcheck: "false", placeholder: "Text to continue; it may be empty" });
    this.tokens = el("input", { type: "number", min: "1", max: "100000", value: "200", required: true });
    this.averaged = el("input", { type: "checkbox" });
    this.averagedLabel = el("label", { hidden: true }, this.averaged, " averaged weights");
    this.temperature = el("input", { type: "number", min: "0", step: "0.1", value: "0.8", required: true });
    this.options = new Options();
    this.submit = el("button", { type: "submit", disabled: true }, "Sample");
    this.cancel = el("button", { type: "button", disabled: true, onclick: () => this.controller?.abort() }, "Cancel");
    // The prompt, or before the first sample a hint.
    this.lead = el("span", { class: "soft" });
    this.generated = el("span");
    this.problem = el("p", { class: "error", role: "alert" });
    this.output = el("pre", { class: "sample", tabindex: "0", role: "log", "aria-label": "Sampled text" }, this.lead, this.generated);
    const onsubmit = (event) => {
      event.preventDefault();
      this.#sample();
    };
    const form = el(
      "form",
      { onsubmit },
      el("label", {}, "Prompt", this.prompt),
      el(
        "div",
        { class: "row" },
        el("label", {}, "Checkpoint", this.checkpoint),
        el("label", {}, "Tokens", this.tokens),
        el("label", {}, "Temperature", this.temperature),
        this.averagedLabel,
        el("span", { class: "together" }, this.submit, this.cancel),
      ),
      this.options.element,
    );
    this.element = el("section", { class: "card" }, el("h2", {}, "Sample text"), form, this.problem, this.output);
    this.#showHint();
  }

  // The checkpoints come newest first. `ended`: the job will save no more of them. `hasAverage`: they
  // also hold averaged weights.
  offer(checkpoints, ended, hasAverage) {
    this.ended = ended;
    this.averagedLabel.hidden = !hasAverage;
    this.checkpoints.show(checkpoints);
    const chosen = checkpoints.find((one) => one.checkpoint_id === this.chosen) ?? checkpoints[0];
    if (chosen) this.checkpoint.value = chosen.checkpoint_id;
    this.#enable();
    if (!this.generated.textContent && !this.controller) this.#showHint();
  }

  close() {
    this.controller?.abort();
  }

  #enable() {
    this.submit.disabled = this.checkpoint.options.length === 0 || Boolean(this.controller);
    this.cancel.disabled = !this.controller;
  }

  #showHint() {
    let hint = "What the model writes appears here.";
    if (!this.checkpoint.options.length) {
      hint = this.ended
        ? "Sampling needs a checkpoint, and this job has none."
        : "Sampling needs a checkpoint; the first is saved after save_steps steps, or when the job is stopped.";
    }
    setText(this.lead, hint);
  }

  async #sample() {
    const controller = new AbortController();
    this.controller = controller;
    this.#enable();
    const { chat, fields } = this.options.values();
    const prompt = this.prompt.value;
    // Generated text continues the prompt, but answers a chat message.
    const lead = chat ? "" : prompt;
    // A space keeps the empty box as high as a line.
    setText(this.lead, lead || " ");
    this.generated.textContent = "";
    this.problem.textContent = "";
    try {
      const response = await send("POST", at("checkpoints", this.checkpoint.value, "generate"), {
        signal: controller.signal,
        body: {
          ...(chat ? { messages: [{ role: "user", content: prompt }] } : { prompt }),
          max_tokens: this.tokens.valueAsNumber,
          temperature: this.temperature.valueAsNumber,
          ...fields,
          averaged: this.averaged.checked,
        },
      });
      // Samples come one after the other, each with a finish_reason of its own.
      const last = (fields.num_samples ?? 1) - 1;
      let ended = false;
      let sample = 0;
      for await (const { event, data } of read(response)) {
        if (event === "error") this.problem.textContent = data.detail;
        else {
          if (data.sample > sample) this.generated.append(`\n\n${lead}`);
          sample = data.sample ?? 0;
          if (data.dropped_prompt_tokens) this.problem.textContent = droppedTokens(data);
          this.generated.append(data.text);
        }
        ended ||= event === "error" || Boolean(data.finish_reason && sample === last);
        this.output.scrollTop = this.output.scrollHeight;
      }
      if (!ended && !controller.signal.aborted) this.problem.textContent = BROKE_OFF;
    } catch (error) {
      // Anything but a refusal is a connection that broke while the text came.
      const message = error instanceof ApiError ? error.message : BROKE_OFF;
      if (!controller.signal.aborted) this.problem.textContent = message;
    } finally {
      this.controller = null;
      this.#enable();
    }
  }
}

// The settings that few people change. An empty field leaves its setting out of the request.
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

  // `chat`: the prompt is a chat message. `fields` are named as in the request.
  values() {
    const given = Object.entries(this.numbers).filter(([, field]) => field.value !== "");
    const fields = Object.fromEntries(given.map(([name, field]) => [name, field.valueAsNumber]));
    const stop = this.stop.value.split("\n").filter(Boolean);
    return { chat: this.chat.checked, fields: stop.length ? { ...fields, stop } : fields };
  }
}

const droppedTokens = ({ prompt_tokens: all, dropped_prompt_tokens: dropped }) =>
  `The prompt has ${count(all)} tokens; the model sees the last ${count(all - dropped)}, which are all that its context takes.`;

const option = (one) =>
  el("option", { value: one.checkpoint_id }, `step ${count(one.step)}${one.is_best ? " (best)" : ""}`);
