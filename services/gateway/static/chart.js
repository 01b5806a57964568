// A line chart on a canvas. Each pixel column shows its least and greatest value as a band, so
// that spikes stay visible however long the run is. The pointer or the arrow keys read values.

import { el, setText } from "./dom.js";
import { count, number } from "./format.js";
import { Scale, extent, ticks } from "./scale.js";

const LEFT = 52;
const BOTTOM = 20;
const TOP = 8;
const RIGHT = 10;

// Why a chart is empty, in it and below it.
export const NOTHING = {
  loading: { drawn: "…", explained: "" },
  yet: { drawn: "no data yet", explained: "The first point comes with the first logged step." },
  ever: { drawn: "no data", explained: "It ended before its first logged step." },
};

export class Chart {
  // series: [{ name, label, color }] with color the name of a CSS variable.
  // `place` says where a point is, for a reader.
  constructor(title, series, { tall = false, place = (step) => `step ${count(step)}` } = {}) {
    this.title = title;
    this.place = place;
    this.series = series;
    this.points = [];
    this.nothing = NOTHING.loading;
    this.reads = null; // the step that the pointer or the keyboard reads
    this.canvas = el("canvas", {
      role: "img",
      tabindex: "0",
      "aria-label": `${title}: ${this.nothing.drawn}`,
      onpointermove: (event) => this.#read(this.scale?.step(event.offsetX) ?? null),
      onpointerleave: () => this.#read(null),
      onblur: () => this.#read(null),
      onkeydown: (event) => this.#key(event),
    });
    this.reading = el("p", { class: "reading" });
    const keys = series.map((one, place) => [
      el("span", { class: place ? "key second" : "key", "aria-hidden": "true" }),
      `${one.label} `,
    ]);
    this.element = el(
      "section",
      { class: tall ? "card chart tall" : "card chart" },
      el("h2", {}, title, series.length > 1 && [" ", el("small", { class: "soft" }, keys)]),
      this.canvas,
      this.reading,
    );
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.onScheme = () => this.draw();
    this.scheme.addEventListener("change", this.onScheme);
  }

  close() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.onScheme);
  }

  // `nothing` says what it means that there are no values: one of NOTHING.
  show(points, nothing) {
    this.points = points;
    this.nothing = nothing;
    const measured = this.series
      .map(({ label, name }) => [label, last(points, name)])
      .filter(([, value]) => value !== null)
      .map(([label, value]) => `${label} ${number(value)}`);
    const said = measured.length ? `, latest: ${measured.join(", ")}` : `: ${nothing.drawn}`;
    this.canvas.setAttribute("aria-label", this.title + said);
    this.draw();
  }

  #read(step) {
    this.reads = step;
    if (step === null) this.reading.removeAttribute("aria-live");
    this.draw();
  }

  #key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!move || this.points.length === 0) return;
    event.preventDefault();
    const here = this.reads === null ? this.points.length - 1 : nearest(this.points, this.reads);
    const place = Math.min(this.points.length - 1, Math.max(0, here + move));
    // Spoken while the keyboard moves; live values would never let a screen reader finish.
    this.reading.setAttribute("aria-live", "polite");
    this.#read(this.points[place].step);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const density = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(height * density);
    const context = this.canvas.getContext("2d");
    context.scale(density, density);
    context.font = "11px system-ui, sans-serif";
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const area = { left: LEFT, top: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM };
    const range = extent(this.points, this.series.map((one) => one.name));
    this.scale = range && new Scale(area, range);
    const point = this.#shown();
    if (this.scale) {
      axes(context, this.scale, color);
      for (const one of this.series) {
        band(context, columns(this.points, one.name, this.scale), this.scale, color(one.color));
      }
      if (this.reads !== null) mark(context, this.scale, point.step, color("--soft"));
    } else {
      empty(context, area, color, this.nothing.drawn);
    }
    this.#say(point);
  }

  #shown() {
    if (this.reads === null) return this.points.at(-1);
    return this.points[nearest(this.points, this.reads)];
  }

  #say(point) {
    if (!point) {
      setText(this.reading, this.nothing.explained);
      return;
    }
    const values = this.series
      .map(({ label, name }) => [label, this.reads === null ? last(this.points, name) : point[name]])
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([label, value]) => `${label} ${number(value, 5)}`);
    setText(this.reading, [this.place(point.step), ...values].join(" · "));
  }
}

function last(points, name) {
  for (let place = points.length - 1; place >= 0; place -= 1) {
    const value = points[place][name];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

// The place of the point that is nearest to a step; points ascend.
function nearest(points, step) {
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].step < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - points[low - 1].step < points[low].step - step ? low - 1 : low;
}

function columns(points, name, scale) {
  const found = [];
  for (const point of points) {
    const value = point[name];
    if (value === null || value === undefined) continue;
    const x = Math.round(scale.x(point.step));
    const column = found.at(-1);
    if (column?.x === x) {
      column.low = Math.min(column.low, value);
      column.high = Math.max(column.high, value);
      column.sum += value;
      column.count += 1;
    } else {
      found.push({ x, low: value, high: value, sum: value, count: 1 });
    }
  }
  return found;
}

function band(context, found, scale, color) {
  context.fillStyle = color;
  context.strokeStyle = color;
  context.globalAlpha = 0.25;
  context.beginPath();
  for (const { x, high } of found) context.lineTo(x, scale.y(high));
  for (const { x, low } of found.toReversed()) context.lineTo(x, scale.y(low));
  context.fill();
  context.globalAlpha = 1;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  for (const { x, sum, count: size } of found) context.lineTo(x, scale.y(sum / size));
  context.stroke();
  if (found.length > 40) return;
  for (const { x, high } of found) {
    context.beginPath();
    context.arc(x, scale.y(high), 2.2, 0, 2 * Math.PI);
    context.fill();
  }
}

function mark(context, scale, step, color) {
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(scale.x(step), scale.top);
  context.lineTo(scale.x(step), scale.top + scale.height);
  context.stroke();
}

function axes(context, scale, color) {
  context.strokeStyle = color("--line");
  context.fillStyle = color("--soft");
  context.lineWidth = 1;
  context.textAlign = "right";
  for (const value of ticks(scale.low, scale.high, Math.max(3, scale.height / 36))) {
    const y = Math.round(scale.y(value)) + 0.5;
    const short = Math.abs(value) < 1e3 || Math.abs(value) >= 1e6;
    context.fillText(short ? number(value, 6) : count(value), scale.left - 8, y + 4);
    context.beginPath();
    context.moveTo(scale.left, y);
    context.lineTo(scale.left + scale.width, y);
    context.stroke();
  }
  context.textAlign = "center";
  const most = Math.max(3, scale.width / 70);
  for (const step of ticks(scale.first, scale.last, most, true)) {
    const half = context.measureText(count(step)).width / 2;
    const x = Math.min(scale.x(step), scale.left + scale.width + RIGHT - half);
    context.fillText(count(step), x, scale.top + scale.height + 15);
  }
}

function empty(context, area, color, text) {
  context.strokeStyle = color("--line");
  context.fillStyle = color("--soft");
  context.strokeRect(area.left + 0.5, area.top + 0.5, area.width - 1, area.height - 1);
  context.textAlign = "center";
  context.fillText(text, area.left + area.width / 2, area.top + area.height / 2);
}
