// Several runs over each other: any metric over steps, tokens or time, and where the runs differ.

import { at, get, getBytes } from "./api.js";
import { addressOf, looks, placed, readState } from "./compare_state.js";
import { CompareTable, csvOf } from "./compare_table.js";
import { connection, el, fill, Kept, notice, setText } from "./dom.js";
import { count, many } from "./format.js";
import { pictureText, savePng, saveText } from "./exports.js";
import { OverlayChart } from "./overlay_chart.js";
import { readSeries } from "./protobuf.js";
import { RunPicker } from "./run_picker.js";

const FOLLOW_MS = 5000;
const ACTIVE = ["queued", "running", "stopping"];
const POINTS = 1000;
// A curve that has grown beyond this is asked for again, thinned.
const MOST_POINTS = 3000;
// The service's bounds: points of a curve, and of all curves of an answer.
const [MOST_SAVED, MOST_IN_ALL] = [10_000, 400_000];
const AXES = { step: "step", lineage_step: "step, forks behind their parents", tokens: "tokens", time: "seconds of training", wall_time: "seconds by the clock" };
const SLIDER_MS = 150;

export class ComparePage {
  constructor(page, query) {
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.state = readState(query);
    this.jobs = new Map();
    this.curves = new Map();
    this.charts = new Map();
    this.cursor = "";
    this.table = new CompareTable((sort, down) => this.#change({ sort, down }, () => this.#showTable()), (id) => this.#point(null, id));
    this.#build(page);
    this.timer = setInterval(() => this.#follow(), FOLLOW_MS);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.onScheme = () => {
      this.#draw();
      this.#showTable();
    };
    this.scheme.addEventListener("change", this.onScheme);
    this.#load();
  }

  close() {
    this.controller.abort();
    clearInterval(this.timer);
    clearTimeout(this.soon);
    this.scheme.removeEventListener("change", this.onScheme);
    for (const chart of this.charts.values()) chart.close();
  }

  get #runs() {
    return this.state.jobs.filter(Boolean);
  }

  #build(page) {
    this.picker = new RunPicker(this.#runs, this.signal, (jobs) => this.#change({ jobs: placed(this.state.jobs, jobs) }));
    this.metrics = el("div", { class: "row", role: "group", "aria-label": "Metrics" });
    this.boxes = new Kept(this.metrics, { keyOf: (name) => name, make: (name) => this.#box(name) });
    this.place = el("div", { class: "grid two" });
    this.hint = el("p", { class: "hint", role: "status" });
    document.title = "Compare – Training Engine";
    fill(page, el("div", { class: "head" }, el("h1", {}, "Compare"), el("div", { class: "actions" }, this.#buttons())), this.picker.element, el("section", { class: "card" }, this.#controls(), this.metrics, this.hint), this.place, this.table.element);
  }

  #buttons() {
    const each = (work) => () => [...this.charts.values()].forEach(work);
    const file = (chart, kind) => `${chart.metric.replaceAll("/", "-")}.${kind}`;
    return [
      el("button", { type: "button", onclick: each((chart) => saveText(file(chart, "svg"), "image/svg+xml", pictureText(chart.picture()))) }, "Charts as SVG"),
      el("button", { type: "button", onclick: each((chart) => savePng(file(chart, "png"), chart.picture())) }, "Charts as PNG"),
      el("button", { type: "button", onclick: () => this.#saveCurves() }, "Curves as CSV"),
    ];
  }

  #controls() {
    const { state } = this;
    const axis = el("select", { onchange: () => this.#change({ x: axis.value, from: null, to: null }) }, Object.entries(AXES).map(([value, text]) => el("option", { value, selected: state.x === value }, text)));
    const box = (name, text) => {
      const input = el("input", { type: "checkbox", checked: state[name], onchange: () => this.#change({ [name]: input.checked }) });
      return el("label", { class: "check" }, input, text);
    };
    const slider = el("input", { type: "range", min: 0, max: 0.999, step: 0.001, value: state.smoothing, oninput: () => this.#smooth(Number(slider.value)) });
    // No <output>: the label would name it and not the slider.
    this.weight = el("span", {}, state.smoothing);
    const end = (name) => el("input", { type: "number", step: "any", value: state[name], onchange: (event) => this.#change({ [name]: event.target.value === "" ? null : Number(event.target.value) }) });
    [this.from, this.to] = [end("from"), end("to")];
    const reset = el("button", { type: "button", onclick: () => this.#change({ from: null, to: null }) }, "Whole axis");
    return el("div", { class: "row fields" }, el("label", {}, "Over", axis), box("logx", "log x"), box("logy", "log y"), el("label", {}, el("span", {}, "Smoothing ", this.weight), slider), el("label", {}, "From", this.from), el("label", {}, "To", this.to), reset);
  }

  #smooth(smoothing) {
    setText(this.weight, String(smoothing));
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.#change({ smoothing }), SLIDER_MS);
  }

  // Keeps a choice in the address, without a step in the browser's history, and shows it.
  #change(choice, show = () => this.#load()) {
    Object.assign(this.state, choice);
    history.replaceState(null, "", addressOf(this.state));
    this.from.value = this.state.from ?? "";
    this.to.value = this.state.to ?? "";
    show();
  }

  #query(more) {
    const { metrics, x, smoothing, logx, from, to } = this.state;
    const query = new URLSearchParams({ x_axis: x, smoothing, log_x: logx, max_points: POINTS, ...more });
    for (const id of this.#runs) query.append("job_ids", id);
    for (const name of metrics) query.append("metrics", name);
    if (from !== null) query.set("from_x", from);
    if (to !== null) query.set("to_x", to);
    return `/metrics/series?${query}`;
  }

  async #series(more) {
    return readSeries(await getBytes(this.#query(more), { signal: this.signal }));
  }

  // Asks for all of it. An answer that a later question has overtaken is dropped.
  async #load(said = "") {
    const asked = (this.asked = Symbol("question"));
    notice(said);
    if (!this.state.jobs.length || !this.state.metrics.length) {
      this.curves.clear();
      this.#showAll([]);
      return;
    }
    const missing = this.#runs.filter((id) => !this.jobs.has(id));
    try {
      // Without a job's record its curve is drawn too; what is wrong with its id, the curves' answer says.
      const [answer] = await Promise.all([this.#series({}), this.#readJobs(missing).catch(() => {})]);
      if (asked !== this.asked) return;
      this.curves.clear();
      this.#take(answer);
      this.#showAll(answer.metric_names);
    } catch (error) {
      if (!this.signal.aborted && asked === this.asked) await this.#refused(error);
    }
  }

  // Runs that were deleted are left out, and the others are shown.
  async #refused(error) {
    const runs = this.#runs;
    const isGone = (id) => get(at("jobs", id, "status"), { signal: this.signal }).then(() => false, (found) => found.reason === error.reason);
    const gone = error.reason === "job_not_found" ? await Promise.all(runs.map(isGone)) : [];
    const left = runs.filter((_, place) => !gone[place]);
    if (this.signal.aborted) return;
    if (!gone.includes(true) || !left.length) return notice(error.message);
    this.picker.keep(left);
    const said = `Left out, for there is no such job: ${runs.filter((id) => !left.includes(id)).join(", ")}`;
    this.#change({ jobs: placed(this.state.jobs, left) }, () => this.#load(said));
  }

  async #readJobs(ids) {
    if (!ids.length) return;
    const query = new URLSearchParams(ids.map((id) => ["job_ids", id]));
    const { jobs } = await get(`/jobs/batch?${query}`, { signal: this.signal });
    for (const job of jobs) this.jobs.set(job.job_id, job);
  }

  #take(answer) {
    this.cursor = answer.cursor;
    for (const series of answer.series) {
      const key = `${series.job_id} ${series.metric}`;
      const before = this.curves.get(key);
      if (series.from_start || !before) this.curves.set(key, { ...series, begun: series });
      else this.curves.set(key, { ...series, begun: before.begun, x: joined(before.x, series.x), y: joined(before.y, series.y) });
    }
  }

  async #follow() {
    const active = this.#runs.filter((id) => ACTIVE.includes(this.jobs.get(id)?.status));
    if (this.following || !active.length || !this.cursor || document.visibilityState !== "visible") return;
    this.following = true;
    const asked = this.asked;
    try {
      const answer = await this.#series({ after: this.cursor });
      if (asked !== this.asked) return;
      this.#take(answer);
      connection("live");
      const heard = new Set(answer.series.map((series) => series.job_id));
      // A run of which nothing came may have ended.
      await this.#readJobs(active.filter((id) => !heard.has(id)));
      const longest = Math.max(...[...this.curves.values()].map((curve) => curve.x.length));
      if (longest > MOST_POINTS) await this.#load();
      else if (heard.size) this.#draw();
      this.#showTable();
    } catch (error) {
      if (error.reason === "job_not_found") await this.#refused(error);
      else if (!this.signal.aborted) connection(`reconnecting… ${error.message}`);
    } finally {
      this.following = false;
    }
  }

  #showAll(names) {
    this.offered = [...new Set([...this.state.metrics, ...names])].sort();
    if (names.length) this.boxes.show(this.offered);
    for (const input of this.metrics.querySelectorAll("input")) input.checked = this.state.metrics.includes(input.value);
    setText(this.hint, this.state.jobs.length ? "Drag over a chart to zoom; a double click or Escape shows the whole axis again." : "Choose runs above.");
    this.#draw();
    this.#showTable();
  }

  #box(name) {
    const chosen = (one) => (one === name ? input.checked : this.state.metrics.includes(one));
    const input = el("input", { type: "checkbox", value: name, onchange: () => this.#change({ metrics: this.offered.filter(chosen) }) });
    return el("label", { class: "check" }, input, name);
  }

  #draw() {
    const wanted = this.state.jobs.length ? this.state.metrics : [];
    for (const [name, chart] of this.charts) {
      if (wanted.includes(name)) continue;
      chart.close();
      this.charts.delete(name);
    }
    const dark = this.scheme.matches;
    for (const name of wanted) {
      if (!this.charts.has(name)) this.#add(name);
      const curves = this.#placedRuns().map(([id, place]) => ({ id, label: this.jobs.get(id)?.name || id, ...looks(place, dark), x: [], y: [], ...this.curves.get(`${id} ${name}`) }));
      this.charts.get(name).show(curves, { ...this.state, xLabel: AXES[this.state.x] ?? this.state.x });
    }
    performance.mark("compared");
  }

  #add(name) {
    const chart = new OverlayChart(name, {
      onPoint: (x, id) => this.#point(x, id),
      onZoom: (from, to) => this.#change({ from, to }),
      onReset: () => this.#change({ from: null, to: null }),
    });
    this.charts.set(name, chart);
    this.place.append(chart.element);
  }

  // One pointer, and one run that is meant, for all charts.
  #point(x, id) {
    for (const chart of this.charts.values()) chart.point(x, id);
  }

  #placedRuns() {
    return [...this.state.jobs.entries()].flatMap(([place, id]) => (id ? [[id, place]] : []));
  }

  #showTable() {
    const dark = this.scheme.matches;
    const runs = this.#placedRuns().map(([id, place]) => ({
      id,
      job: this.jobs.get(id),
      ...looks(place, dark),
      summary: Object.fromEntries(this.state.metrics.map((name) => [name, this.curves.get(`${id} ${name}`)])),
    }));
    this.table.element.hidden = !runs.length;
    this.table.show(runs, this.state.metrics, this.state);
  }

  // What the charts show, with as many points as the service gives at once.
  async #saveCurves() {
    const curves = this.#runs.length * this.state.metrics.length;
    if (!curves) return;
    const most = Math.min(MOST_SAVED, Math.floor(MOST_IN_ALL / curves));
    try {
      const { series } = await this.#series({ max_points: most });
      const lines = series.flatMap(({ job_id: id, metric, x, y }) => Array.from(x, (at, place) => [id, this.jobs.get(id)?.name ?? "", metric, at, y[place]]));
      saveText("curves.csv", "text/csv", csvOf([["job_id", "name", "metric", this.state.x, "value"], ...lines]));
      const thinned = series.filter((each) => each.count > most).length;
      if (thinned) setText(this.hint, `${many(thinned, "curve")} in curves.csv may be thinned: each has at most ${count(most)} points, its least and greatest values among them. Narrow From and To for every point of a part.`);
    } catch (error) {
      if (!this.signal.aborted) notice(error.message);
    }
  }
}

function joined(before, more) {
  const whole = new Float64Array(before.length + more.length);
  whole.set(before);
  whole.set(more, before.length);
  return whole;
}
