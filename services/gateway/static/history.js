// A job's points: the whole run once, downsampled by the server, then what arrives live. Metrics of
// the user's own are beside the others in them.

import { at, get } from "./api.js";

const POINTS = 1000;
// Live points kept before the server is asked for a fresh summary of the whole run.
const LIVE_POINTS = 4000;
const NO_METRICS = ["step", "attempt"];

export class History {
  constructor(jobId, signal, onChange) {
    this.path = at("jobs", jobId, "metrics", "history");
    this.signal = signal;
    this.onChange = onChange;
    this.points = [];
    this.names = new Set(); // of the metrics that any point has had
    this.customNames = new Set();
    this.loading = null;
    this.again = false;
    this.loaded = false;
  }

  get lastStep() {
    return this.points.at(-1)?.step ?? 0;
  }

  // Reads the whole run again; calls that come meanwhile are answered by one more reading.
  async load() {
    if (this.loading) {
      this.again = true;
      return this.loading;
    }
    this.loading = this.#read();
    try {
      await this.loading;
    } finally {
      this.loading = null;
    }
    if (this.again && !this.signal.aborted) {
      this.again = false;
      await this.load();
    }
  }

  async #read() {
    this.arrived = [];
    const page = await get(`${this.path}?max_points=${POINTS}`, { signal: this.signal });
    this.points = page.points.map((point) => this.#flat(point));
    this.loaded = true;
    for (const point of this.arrived) this.#insert(point);
    this.arrived = null;
    this.onChange();
  }

  isCustom(name) {
    return this.customNames.has(name);
  }

  #flat({ custom, ...named }) {
    for (const name of Object.keys(custom)) if (!(name in named)) this.customNames.add(name);
    const point = { ...custom, ...named };
    for (const [name, value] of Object.entries(point)) {
      if (typeof value === "number" && !NO_METRICS.includes(name)) this.names.add(name);
    }
    return point;
  }

  add(arrived) {
    const point = this.#flat(arrived);
    this.arrived?.push(point);
    this.#insert(point);
    if (this.points.length > LIVE_POINTS) this.load().catch(() => {});
    this.onChange();
  }

  #insert(point) {
    let place = this.points.length;
    while (place > 0 && this.points[place - 1].step > point.step) place -= 1;
    // A point that the summary of the whole run already has may arrive again.
    const known = place > 0 && this.points[place - 1].step === point.step;
    if (!known) this.points.splice(place, 0, point);
  }

  // The history was cut: show the points that remain at once, then read the server's.
  rewind(toStep) {
    this.points = this.points.filter((point) => point.step <= toStep);
    if (this.arrived) this.arrived = this.arrived.filter((point) => point.step <= toStep);
    this.onChange();
    this.load().catch(() => {});
  }

  latest(name) {
    for (let place = this.points.length - 1; place >= 0; place -= 1) {
      const value = this.points[place][name];
      if (value !== null && value !== undefined) return value;
    }
    return null;
  }
}
