// The loss of each job of a list, as a small curve: one request for all rows, and none for jobs that
// have ended and are known.

import { get } from "./api.js";
import { svg } from "./dom.js";

const POINTS = 40;
const [WIDTH, HEIGHT] = [96, 22];
const ACTIVE = ["queued", "running", "stopping"];

export class Sparklines {
  constructor() {
    this.known = new Map();
  }

  // Reads the curves of these jobs that may have changed; says whether any did.
  async read(jobs, options) {
    const asked = jobs.filter((job) => job.current_step > 0 && this.known.get(job.job_id)?.of !== version(job));
    if (!asked.length) return false;
    const query = new URLSearchParams({ metrics: "loss", max_points: POINTS });
    for (const job of asked) query.append("job_ids", job.job_id);
    const { series } = await get(`/metrics/series?${query}`, options);
    const curves = new Map(series.map((one) => [one.job_id, one]));
    // What left the list is forgotten.
    this.known = new Map(jobs.filter((job) => this.known.has(job.job_id)).map((job) => [job.job_id, this.known.get(job.job_id)]));
    for (const job of asked) this.known.set(job.job_id, { of: version(job), line: line(curves.get(job.job_id)) });
    return true;
  }

  draw(job) {
    const points = this.known.get(job.job_id)?.line;
    if (!points) return null;
    const label = `Loss of ${job.name || job.job_id}`;
    return svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": label },
      svg("polyline", { points, fill: "none", stroke: "currentColor", "stroke-width": "1.5" }),
    );
  }
}

// A job that has ended keeps its curve until it is resumed.
const version = (job) => (ACTIVE.includes(job.status) ? `${job.attempt} ${job.current_step}` : `${job.attempt} ${job.status}`);

function line(series) {
  if (!series || series.x.length < 2) return "";
  const { x, y } = series;
  const [low, high] = [Math.min(...y), Math.max(...y)];
  const across = (value) => ((value - x[0]) / (x.at(-1) - x[0] || 1)) * (WIDTH - 2) + 1;
  const down = (value) => HEIGHT - 1 - ((value - low) / (high - low || 1)) * (HEIGHT - 2);
  return x.map((value, index) => `${across(value).toFixed(1)},${down(y[index]).toFixed(1)}`).join(" ");
}
