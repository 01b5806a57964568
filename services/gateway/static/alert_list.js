// Which rules of the job's alerts have fired, newest first.

import { at, get } from "./api.js";
import { el, fill } from "./dom.js";
import { time } from "./format.js";

// Between two looks at what came of sending an alert, which is not an event of the job.
const PENDING_MS = 3000;

// When an alert fired, and what came of sending it.
function said({ created_at: at, delivery, delivery_tries: tries, delivery_problem: problem }) {
  const sent = problem ? `${delivery}, tried ${tries}×: ${problem}` : delivery;
  return [time(at), sent].filter(Boolean).join(", ");
}

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
      fill(this.list, alerts.reverse().map((one) => el("li", {}, one.text, " ", el("span", { class: "soft" }, said(one)))));
      clearTimeout(this.later);
      const isPending = alerts.some((one) => one.delivery === "pending");
      if (isPending) this.later = setTimeout(() => this.signal.aborted || this.load(), PENDING_MS);
    } catch {
      // The page says already that the gateway is away; the next event asks again.
    }
  }
}
