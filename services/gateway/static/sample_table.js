// What the model made of the configuration's prompts, steps side by side.

import { at, get } from "./api.js";
import { el, fill } from "./dom.js";
import { count } from "./format.js";

const COLUMNS = 3;

export class SampleTable {
  constructor(jobId, signal) {
    this.path = at("jobs", jobId, "samples");
    this.signal = signal;
    this.steps = [];
    this.chosen = new Map(); // column → step, where a person has chosen one
    this.table = el("table", { "aria-label": "Samples, steps side by side", class: "samples" });
    this.element = el(
      "section",
      { class: "card", hidden: true },
      el("h2", {}, "Samples over time"),
      el("div", { class: "scroll" }, this.table),
    );
  }

  // Reads the steps that are not shown yet; calls that come meanwhile are answered by one more reading.
  async load() {
    this.again = true;
    if (this.loading) return;
    this.loading = true;
    try {
      while (this.again) {
        this.again = false;
        await this.#read();
      }
    } catch {
      // The page says already that the gateway is away; the next evaluation asks again.
    } finally {
      this.loading = false;
    }
    this.#show();
  }

  async #read() {
    let token = "";
    do {
      const query = new URLSearchParams({ from_step: (this.steps.at(-1)?.step ?? 0) + 1 });
      const page = await get(`${this.path}?${query}`, { signal: this.signal });
      this.steps.push(...page.steps);
      token = page.next_page_token;
    } while (token);
  }

  rewind(toStep) {
    this.steps = this.steps.filter(({ step }) => step <= toStep);
    this.load();
  }

  // By themselves the first step, the one half way to the newest, and the newest.
  #shown() {
    const last = this.steps.length - 1;
    const places = [...new Set([0, Math.floor(last / 2), last])];
    return places.slice(-COLUMNS).map((place, column) => {
      const chosen = this.steps.find(({ step }) => step === this.chosen.get(column));
      return chosen ?? this.steps[place];
    });
  }

  #show() {
    this.element.hidden = !this.steps.length;
    if (!this.steps.length || this.table.contains(document.activeElement)) return;
    const shown = this.#shown();
    const heads = shown.map((one, column) => el("th", { scope: "col" }, this.#choice(one, column)));
    const rows = shown[0].samples.map(({ prompt }, number) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, prompt ? el("div", { class: "prompt" }, prompt) : el("span", { class: "soft" }, "(empty)")),
        shown.map(({ samples }) => el("td", {}, el("pre", {}, samples[number]?.text ?? ""))),
      ),
    );
    fill(
      this.table,
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Prompt"), heads)),
      el("tbody", {}, rows),
    );
  }

  #choice(one, column) {
    const select = el("select", {
      "aria-label": `Step of column ${column + 1}`,
      onchange: () => {
        this.chosen.set(column, Number(select.value));
        select.blur();
        this.#show();
      },
    });
    fill(
      select,
      this.steps.map(({ step }) => el("option", { value: step, selected: step === one.step }, `Step ${count(step)}`)),
    );
    return select;
  }
}
