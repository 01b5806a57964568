// A line chart on a canvas. Each pixel column shows its least and greatest value as a band, so
// that spikes stay visible however long the run is.

import { el, setText } from "./dom.js";
import { count, number } from "./format.js";

const LEFT = 56;
const BOTTOM = 20;
const TOP = 8;
const RIGHT = 8;

export class Chart {
  // series: [{ name, label, color }] with color the name of a CSS variable.
  constructor(title, series) {
    this.title = title;
    this.series = series;
    this.points = [];
    this.pointer = null;
    this.canvas = el("canvas", { role: "img", "aria-label": `${title}: no data yet` });
    this.reading = el("div", { class: "reading" });
    const keys = series.map((one, place) => [
      el("span", { class: place ? "key second" : "key", "aria-hidden": "true" }),
      `${one.label} `,
    ]);
    this.element = el(
      "section",
      { class: "card" },
      el("h2", {}, title, series.length > 1 ? [" ", el("small", { class: "soft" }, keys)] : []),
      this.canvas,
      this.reading,
    );
    this.canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.canvas.addEventListener("pointerleave", () => this.#point(null));
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

  show(points) {
    this.points = points;
    const latest = this.series.map((one) => `${one.label} ${number(last(points, one.name))}`);
    this.canvas.setAttribute("aria-label", `${this.title}, latest: ${latest.join(", ")}`);
    this.draw();
  }

  #point(x) {
    this.pointer = x;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const area = { left: LEFT, top: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM };
    const range = extent(this.points, this.series);
    context.font = "11px system-ui, sans-serif";
    axes(context, area, range, color);
    if (!range) return;
    for (const one of this.series) {
      band(context, columns(this.points, one.name, area, range), area, range, color(one.color));
    }
    this.#read(context, area, range, color);
  }

  #read(context, area, range, color) {
    const point = this.pointer === null ? null : nearest(this.points, this.pointer, area, range);
    const shown = point ?? null;
    if (shown) {
      const x = across(shown.step, area, range);
      context.strokeStyle = color("--soft");
      context.beginPath();
      context.moveTo(x, area.top);
      context.lineTo(x, area.top + area.height);
      context.stroke();
    }
    const values = this.series
      .map((one) => [one.label, shown ? shown[one.name] : last(this.points, one.name)])
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([label, value]) => `${label} ${number(value, 5)}`);
    const step = shown?.step ?? this.points.at(-1)?.step;
    setText(this.reading, step === undefined ? "" : `step ${count(step)} · ${values.join(" · ")}`);
  }
}

function last(points, name) {
  for (let place = points.length - 1; place >= 0; place -= 1) {
    const value = points[place][name];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

function extent(points, series) {
  let [low, high] = [Infinity, -Infinity];
  for (const point of points) {
    for (const { name } of series) {
      const value = point[name];
      if (value === null || value === undefined) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return null;
  const margin = (high - low || Math.abs(high) || 1) * 0.05;
  const floor = low >= 0 ? Math.max(0, low - margin) : low - margin;
  const first = points[0].step;
  return { low: floor, high: high + margin, first, last: Math.max(points.at(-1).step, first + 1) };
}

const across = (step, area, range) =>
  area.left + ((step - range.first) / (range.last - range.first)) * area.width;
const upward = (value, area, range) =>
  area.top + (1 - (value - range.low) / (range.high - range.low)) * area.height;

function columns(points, name, area, range) {
  const found = [];
  for (const point of points) {
    const value = point[name];
    if (value === null || value === undefined) continue;
    const x = Math.round(across(point.step, area, range));
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

function band(context, found, area, range, color) {
  context.fillStyle = color;
  context.strokeStyle = color;
  context.globalAlpha = 0.25;
  context.beginPath();
  for (const { x, high } of found) context.lineTo(x, upward(high, area, range));
  for (const { x, low } of found.toReversed()) context.lineTo(x, upward(low, area, range));
  context.fill();
  context.globalAlpha = 1;
  context.lineWidth = 1.5;
  context.beginPath();
  for (const { x, sum, count: size } of found) context.lineTo(x, upward(sum / size, area, range));
  context.stroke();
  if (found.length <= 40) {
    for (const { x, high } of found) context.fillRect(x - 2, upward(high, area, range) - 2, 4, 4);
  }
}

function axes(context, area, range, color) {
  context.strokeStyle = color("--line");
  context.fillStyle = color("--soft");
  context.lineWidth = 1;
  context.strokeRect(area.left, area.top, area.width, area.height);
  if (!range) {
    context.textAlign = "center";
    context.fillText("no data yet", area.left + area.width / 2, area.top + area.height / 2);
    return;
  }
  context.textAlign = "right";
  for (let tick = 0; tick <= 4; tick += 1) {
    const value = range.low + ((range.high - range.low) * tick) / 4;
    const y = upward(value, area, range);
    context.fillText(number(value, 3), area.left - 6, y + 4);
    if (tick % 4) {
      context.beginPath();
      context.moveTo(area.left, y);
      context.lineTo(area.left + area.width, y);
      context.stroke();
    }
  }
  const floor = area.top + area.height + 14;
  context.textAlign = "left";
  context.fillText(count(range.first), area.left, floor);
  context.textAlign = "right";
  context.fillText(`step ${count(range.last)}`, area.left + area.width, floor);
}

function nearest(points, x, area, range) {
  const step = range.first + ((x - area.left) / area.width) * (range.last - range.first);
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(point.step - step) < Math.abs(best.step - step)) best = point;
  }
  return best;
}
