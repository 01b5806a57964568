// What the trainer's processes use, over time: read while the card is open and seen.

import { at, get } from "./api.js";
import { Chart } from "./chart.js";
import { el } from "./dom.js";
import { duration } from "./format.js";

const REFRESH = 5000;
const NOTHING = { drawn: "no samples yet", explained: "The first comes 5 seconds after the trainer has begun." };
const UNITS = [
  ["_bytes_per_second", "MiB/s", 1 << 20],
  ["_bytes", "GiB", 1 << 30],
  ["_percent", "%", 1],
  ["_power_watts", "W", 1],
];

export class SystemCharts {
  constructor(jobId, signal) {
    this.path = at("jobs", jobId, "metrics", "system");
    this.signal = signal;
    this.charts = new Map();
    this.grid = el("div", { class: "grid three" });
    this.details = el("details", { ontoggle: () => this.#refresh() }, el("summary", {}, "System"), this.grid);
    this.element = el("section", { class: "card" }, this.details);
    this.timer = setInterval(() => this.#refresh(), REFRESH);
  }

  close() {
    clearInterval(this.timer);
    for (const chart of this.charts.values()) chart.close();
  }

  async #refresh() {
    if (!this.details.open || document.visibilityState !== "visible" || this.busy) return;
    this.busy = true;
    try {
      const { samples } = await get(this.path, { signal: this.signal });
      this.#show(samples);
    } catch {
      // The page says already that the gateway is away; the next time comes soon.
    } finally {
      this.busy = false;
    }
  }

  #show(samples) {
    const start = samples.length ? Date.parse(samples[0].created_at) : 0;
    const points = samples.map(({ created_at, values }) => ({
      step: Math.round((Date.parse(created_at) - start) / 1000),
      ...Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value / unit(name)[2]])),
    }));
    const names = new Set(samples.flatMap((sample) => Object.keys(sample.values)));
    if (!names.size) names.add("system/cpu_percent");
    for (const name of [...names].sort()) if (!this.charts.has(name)) this.#add(name);
    for (const chart of this.charts.values()) chart.show(points, NOTHING);
  }

  #add(name) {
    const [ending, symbol] = unit(name);
    const words = name.replace("system/", "").replace(new RegExp(`${ending}$`), "").replaceAll("_", " ");
    const title = `${words.replace(/^(cpu|gpu)/, (word) => word.toUpperCase())}${ending === "_power_watts" ? " power" : ""}, ${symbol}`;
    const series = [{ name, label: symbol, color: "--accent" }];
    const chart = new Chart(title[0].toUpperCase() + title.slice(1), series, { place: (seconds) => `after ${duration(seconds)}` });
    this.charts.set(name, chart);
    this.grid.append(chart.element);
  }
}

const unit = (name) => UNITS.find(([ending]) => name.endsWith(ending)) ?? ["", "", 1];
