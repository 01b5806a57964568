// Which rules of the job's alerts have fired, newest first.

import { at, get } from "./api.js";
import { el, fill } from "./dom.js";
import { time } from "./format.js";

export class AlertList {
  constructor(jobId, signal) {
    this.path = at("jobs", jobId, "alerts");
    this.signal = signal;
    this.list = el("ul", { "aria-label": "Alerts, newest first", class: "alerts" });
    this.element = el("section", { class: "card", hidden: true }, el("h2", {}, "Alerts"), this.list);
  }

  async load() {
    try {
      const { alerts } = await get(this.path, { signal: this.signal });
      this.element.hidden = !alerts.length;
      fill(this.list, alerts.reverse().map((one) => el("li", {}, one.text, " ", el("span", { class: "soft" }, time(one.created_at)))));
    } catch {
      // The page says already that the gateway is away; the next event asks again.
    }
  }
}
