// One metric of several runs over each other, as SVG: what is shown is what is exported.
// Dragging zooms, a double click resets, the pointer or the arrow keys read values.

import { el } from "./dom.js";
import { number, place as placeText } from "./format.js";
import { Legend, pictureOf } from "./legend.js";
import { aired, bounded, ticks } from "./scale.js";

const SPACE = "http://www.w3.org/2000/svg";
const [LEFT, TOP, RIGHT, BOTTOM] = [58, 10, 12, 34];
const LEAST_DRAG = 6;
const MOST_READ = 8;
// More curves than these are drawn a pixel wide: browsers draw such lines ten times as fast as wider
// ones.
const FEW = 8;
// In pixels: so far behind a curve's end it is still read; so near to a curve the pointer means it.
const [BEYOND, NEAR] = [8, 24];
const [THICK, DOT] = [2.8, 5];
const VIEW = ["logx", "logy", "from", "to", "xLabel"];
const LOOK = ["id", "label", "color", "dash", "begun"];

export class OverlayChart {
  // actions: onPoint(x or null, id of the run that is meant or null), onZoom(from, to), onReset().
  constructor(metric, actions) {
    this.metric = metric;
    this.actions = actions;
    this.svg = svg("svg", { role: "img", tabindex: "0", class: "overlay", "aria-label": metric });
    this.svg.addEventListener("pointerdown", (event) => this.#press(event));
    this.svg.addEventListener("pointermove", (event) => this.#move(event));
    this.svg.addEventListener("pointerup", (event) => this.#release(event));
    this.svg.addEventListener("pointerleave", () => this.pressed === undefined && actions.onPoint(null, null));
    this.svg.addEventListener("dblclick", () => actions.onReset());
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    this.legend = new Legend();
    this.element = el("section", { class: "card chart" }, el("h2", {}, metric), this.svg, this.legend.element);
    // It is called at the beginning too, when what is shown has its size already.
    this.observer = new ResizeObserver(() => this.curves && String(this.#size()) !== this.drawnSize && this.draw());
    this.observer.observe(this.svg);
  }

  close() {
    this.observer.disconnect();
    this.element.remove();
  }

  // curves: [{ id, label, color, dash, x, y, begun }], of which `begun` stays the same while points are
  // only added; view: { logx, logy, from, to, xLabel }. New points are added to the drawing, which is
  // made again once they move it by a pixel: that takes many times as long.
  show(curves, view) {
    const added = this.#continues(curves, view);
    this.curves = curves;
    this.view = view;
    if (added) this.#add();
    else this.draw();
  }

  #size() {
    return [this.svg.clientWidth || 600, this.svg.clientHeight || 280];
  }

  #continues(curves, view) {
    if (!this.plot || curves.length !== this.curves.length) return false;
    if (VIEW.some((name) => view[name] !== this.view[name])) return false;
    const same = (curve, before) => LOOK.every((name) => curve[name] === before[name]) && !curve.x.length === !before.x.length;
    if (!curves.every((curve, place) => same(curve, this.curves[place]))) return false;
    const plot = plotOf(curves, view, ...this.#size());
    return plot !== null && ["x", "y"].every((name) => covers(this.plot[name], plot[name]));
  }

  #add() {
    this.curves.forEach((curve, place) => {
      const tail = this.tails[place];
      if (curve.x.length <= tail.start + 1) return;
      tail.line ??= this.lines.appendChild(this.#line(curve));
      tail.line.setAttribute("d", pathOf({ x: curve.x.subarray(tail.start), y: curve.y.subarray(tail.start) }, this.plot));
    });
    this.point(this.at ?? null, this.meant);
  }

  draw() {
    const [width, height] = this.#size();
    this.drawnSize = String([width, height]);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.plot = plotOf(this.curves, this.view, width, height);
    const measured = this.curves.filter((curve) => curve.x.length).length;
    this.svg.setAttribute("aria-label", `${this.metric} over ${this.view.xLabel}: ${measured ? `${measured} of ${this.curves.length} runs` : "no data"}`);
    const back = svg("rect", { width, height, fill: color("--card") });
    if (!this.plot) {
      this.svg.replaceChildren(back, words("no data", width / 2, height / 2, color("--soft"), "middle"));
      const isLog = measured > 0 && (this.view.logx || this.view.logy);
      this.legend.show(isLog ? "Nothing here is above zero, and a logarithmic axis shows nothing else." : "None of the runs has logged it here.", []);
      return;
    }
    const clip = `clip-${this.metric.replaceAll(/[^A-Za-z0-9_-]/g, "-")}`;
    this.mark = svg("line", { stroke: color("--soft"), y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    this.band = svg("rect", { y: TOP, height: height - TOP - BOTTOM, fill: color("--accent"), "fill-opacity": 0.15, visibility: "hidden" });
    const area = svg("rect", { x: LEFT, y: TOP, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM });
    this.lines = svg("g", { fill: "none", "stroke-width": this.curves.length > FEW ? 1 : 1.4, "stroke-linejoin": "round", "clip-path": `url(#${clip})` });
    for (const curve of this.curves) this.lines.append(this.#line(curve));
    // Where what is added to a curve begins: at its last point that is drawn.
    this.tails = this.curves.map((curve) => ({ start: Math.max(0, curve.x.length - 1) }));
    const clipPath = svg("clipPath", { id: clip });
    clipPath.append(area);
    this.svg.replaceChildren(back, clipPath, ...axes(this.plot, this.view.xLabel, color), this.lines, this.band, this.mark);
    const meant = this.meant ?? null;
    this.meant = null;
    this.point(this.at ?? null, meant);
  }

  #line(curve) {
    const line = svg("path", { d: pathOf(curve, this.plot), stroke: curve.color, "stroke-dasharray": curve.dash, "data-run": curve.id });
    // A point alone is a dot.
    if (curve.x.length === 1) for (const [name, value] of [["stroke-width", DOT], ["stroke-linecap", "round"]]) line.setAttribute(name, value);
    line.append(svg("title", {}));
    line.firstChild.textContent = curve.label;
    return line;
  }

  // Shows the values at a place of the axis, or at the end where it is null; the run that is meant is
  // drawn thicker.
  point(x, meant = null) {
    this.at = x;
    this.#mean(meant);
    if (!this.plot) return;
    this.mark.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (x !== null) {
      const place = this.plot.x.pixel(x);
      this.mark.setAttribute("x1", place);
      this.mark.setAttribute("x2", place);
    }
    const read = this.curves.filter((curve) => curve.x.length).map((curve) => ({ ...curve, value: this.#valueAt(curve, x) }));
    read.sort(this.#order());
    const shown = read.slice(0, MOST_READ);
    const other = read.find((curve) => curve.id === meant);
    if (other && !shown.includes(other)) shown[MOST_READ - 1] = other;
    const entries = shown.map((curve) => ({ ...curve, text: number(curve.value, 5), meant: curve.id === meant }));
    const rest = read.length > MOST_READ ? `and ${read.length - MOST_READ} more, in the table below` : "";
    this.legend.show(x === null ? "latest" : `${this.view.xLabel} ${placeText(Number(x.toPrecision(6)))}`, entries, rest);
  }

  #mean(id) {
    if (id === this.meant) return;
    this.meant = id;
    for (const line of this.lines?.children ?? []) {
      if (line.hasAttribute("stroke-linecap")) continue;
      if (line.dataset.run === id) line.setAttribute("stroke-width", THICK);
      else line.removeAttribute("stroke-width");
    }
  }

  // The best first; what has no value here comes last.
  #order() {
    const sign = this.curves.some(({ begun }) => begun?.best !== undefined && begun.best === begun.max && begun.best !== begun.min) ? -1 : 1;
    return (one, other) => (one.value === undefined) - (other.value === undefined) || sign * (one.value - other.value) || 0;
  }

  // Undefined where the curve does not reach.
  #valueAt({ x, y }, at) {
    if (at === null) return y.at(-1);
    const [place, first, last] = [at, x[0], x.at(-1)].map((value) => this.plot.x.pixel(value));
    return place < first - BEYOND || place > last + BEYOND ? undefined : y[nearest(x, at)];
  }

  // The id of the run whose curve is nearest to a place of the picture.
  #meantAt(event) {
    const { left, top } = this.svg.getBoundingClientRect();
    const at = this.plot.x.value(event.clientX - left);
    let found = { id: null, apart: NEAR };
    for (const curve of this.curves) {
      const value = curve.x.length ? this.#valueAt(curve, at) : undefined;
      const apart = value === undefined ? NaN : Math.abs(this.plot.y.pixel(value) - (event.clientY - top));
      if (apart < found.apart) found = { id: curve.id, apart };
    }
    return found.id;
  }

  // The chart as a file of its own shows it: with its name, and with those of the runs.
  picture() {
    this.actions.onPoint(null, null);
    return pictureOf(this.svg, `${this.metric} over ${this.view.xLabel}`, this.curves.filter((curve) => curve.x.length));
  }

  #place(event) {
    return event.clientX - this.svg.getBoundingClientRect().left;
  }

  #press(event) {
    if (event.button !== 0 || !this.plot) return;
    this.pressed = this.#place(event);
    this.svg.setPointerCapture(event.pointerId);
  }

  #move(event) {
    if (!this.plot) return;
    const place = this.#place(event);
    if (this.pressed === undefined) {
      this.actions.onPoint(this.plot.x.value(place), this.#meantAt(event));
      return;
    }
    this.band.setAttribute("visibility", "visible");
    this.band.setAttribute("x", Math.min(place, this.pressed));
    this.band.setAttribute("width", Math.abs(place - this.pressed));
  }

  #release(event) {
    if (this.pressed === undefined) return;
    const ends = [this.pressed, this.#place(event)].sort((one, other) => one - other);
    this.pressed = undefined;
    this.band.setAttribute("visibility", "hidden");
    if (ends[1] - ends[0] >= LEAST_DRAG) this.actions.onZoom(...ends.map((end) => Number(this.plot.x.value(end).toPrecision(8))));
  }

  #key(event) {
    if (!this.plot) return;
    if (event.key === "Escape") this.actions.onReset();
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!move) return;
    event.preventDefault();
    const { first, last } = this.plot.x;
    const here = this.plot.x.pixel(this.at ?? this.plot.x.high);
    this.legend.element.setAttribute("aria-live", "polite");
    this.actions.onPoint(this.plot.x.value(Math.min(last, Math.max(first, here + (move * (last - first)) / 50))), null);
  }
}

// Whether an axis shows what another one does, to the pixel.
function covers(axis, other) {
  const apart = [axis.pixel(other.low) - other.first, axis.pixel(other.high) - other.last];
  return axis.first === other.first && axis.last === other.last && apart.every((pixels) => Math.abs(pixels) < 1);
}

function svg(tag, attributes) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== "") element.setAttribute(name, value);
  return element;
}

function words(text, x, y, color, anchor) {
  const element = svg("text", { x, y, fill: color, "text-anchor": anchor, "font-size": 11, "font-family": "system-ui, sans-serif" });
  element.textContent = text;
  return element;
}

// An axis of values from low to high on the pixels from first to last.
function axis(low, high, first, last, log) {
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const of = log ? Math.log10 : bounded;
  const share = (last - first) / (to - from);
  return {
    low, high, first, last, log,
    pixel: (value) => first + (of(value) - from) * share,
    value: (pixel) => (log ? 10 ** (from + (pixel - first) / share) : from + (pixel - first) / share),
  };
}

// Null where no curve passes.
function plotOf(curves, view, width, height) {
  const passes = ({ x }) => x.length > 1 && x[0] <= view.from && x.at(-1) >= view.to;
  let found = extentOf(curves, view);
  // Between two points there is a line too.
  if (!found && view.from !== null && view.to !== null && curves.some(passes)) found = extentOf(curves.filter(passes), { ...view, from: null, to: null });
  if (!found) return null;
  let { x0, x1, y0, y1 } = found;
  if (view.from !== null && (!view.logx || view.from > 0)) x0 = view.from;
  if (view.to !== null) x1 = view.to;
  if (x0 >= x1) x1 = x0 + (Math.abs(x0) || 1);
  [y0, y1] = view.logy ? [y0 / 1.1, Math.min(y1, Number.MAX_VALUE / 2) * 1.1] : aired(y0, y1, 0.05);
  return { x: axis(x0, x1, LEFT, width - RIGHT, view.logx), y: axis(y0, y1, height - BOTTOM, TOP, view.logy) };
}

function extentOf(curves, view) {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of curves) {
    for (let place = 0; place < x.length; place += 1) {
      if ((view.from !== null && x[place] < view.from) || (view.to !== null && x[place] > view.to)) continue;
      if ((view.logx && x[place] <= 0) || (view.logy && y[place] <= 0)) continue;
      if (x[place] < x0) x0 = x[place];
      if (x[place] > x1) x1 = x[place];
      if (y[place] < y0) y0 = y[place];
      if (y[place] > y1) y1 = y[place];
    }
  }
  return x0 > x1 ? null : { x0, x1, y0, y1 };
}

// A logarithm has no place for what is not positive: the line has a gap there.
function pathOf({ x, y }, plot) {
  let path = "";
  let to = "M";
  for (let place = 0; place < x.length; place += 1) {
    const across = Math.round(10 * plot.x.pixel(x[place])) / 10;
    const down = Math.round(10 * plot.y.pixel(y[place])) / 10;
    if (Number.isFinite(across) && Number.isFinite(down)) {
      path += `${to}${across} ${down}`;
      to = "L";
    } else to = "M";
  }
  if (!path) return "M0 0";
  return x.length === 1 ? `${path}h0` : path;
}

function* axes(plot, xLabel, color) {
  for (const value of marks(plot.y, 40)) {
    const y = plot.y.pixel(value);
    yield svg("line", { x1: LEFT, x2: plot.x.last, y1: y, y2: y, stroke: color("--line") });
    yield words(number(value, 6), LEFT - 8, y + 4, color("--soft"), "end");
  }
  for (const value of marks(plot.x, 90)) {
    const [text, place] = [placeText(value), plot.x.pixel(value)];
    const isWide = place + 3.3 * text.length > plot.x.last + RIGHT;
    yield words(text, isWide ? plot.x.last + RIGHT - 1 : place, plot.y.first + 15, color("--soft"), isWide ? "end" : "middle");
  }
  yield words(xLabel, (LEFT + plot.x.last) / 2, plot.y.first + 29, color("--soft"), "middle");
}

function marks(axis, gap) {
  const most = Math.max(2, Math.abs(axis.last - axis.first) / gap);
  if (!axis.log) return ticks(axis.low, axis.high, most);
  return clear(axis, logTicks(axis.low, axis.high, most), 0.6 * gap);
}

// The most important first.
function logTicks(low, high, most) {
  const [first, last] = [Math.log10(low), Math.log10(high)];
  if (last - first < 0.5) return ticks(low, high, most);
  const powers = ticks(first, last, Math.min(most, Math.max(1, last - first)), true).map((power) => 10 ** power);
  if (last - first > 3) return powers;
  const all = Array.from({ length: Math.ceil(last) - Math.floor(first) + 1 }, (_, place) => Math.floor(first) + place);
  const times = (factor) => all.map((power) => Number(`${factor}e${power}`));
  return [...powers, ...[5, 2, 3, 4, 7].flatMap(times)].filter((value) => value >= low && value <= high);
}

// Those that have room beside the ones before them.
function clear(axis, values, room) {
  const kept = [];
  for (const value of values) {
    const place = axis.pixel(value);
    if (kept.every((one) => Math.abs(axis.pixel(one) - place) >= room)) kept.push(value);
  }
  return kept;
}

// The place of the number that is nearest; numbers ascend.
export function nearest(numbers, wanted) {
  let [low, high] = [0, numbers.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - numbers[low - 1] < numbers[low] - wanted ? low - 1 : low;
}
