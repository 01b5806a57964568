// Parallel coordinates: an axis for each parameter and one for the score, a line for each child.

import { el, fill, svg } from "./dom.js";
import { number } from "./format.js";

const WIDTH = 900;
const HEIGHT = 260;
const EDGE = { top: 34, bottom: 16, side: 70 };
const LABELS = 5;
// A range that spans two powers of ten is drawn on a logarithmic axis.
const LOG_FROM = 100;

export class ParallelChart {
  constructor() {
    this.element = el("div", { class: "parallel scroll" });
  }

  // columns: [{ name, value(child) }], children: those with a score, best: number of the best child.
  show(columns, children, best) {
    const axes = columns.map((column, place) => axisOf(column, children, place, columns.length));
    const last = (child) => child.number === best;
    const ordered = [...children].sort((one, other) => last(one) - last(other));
    fill(
      this.element,
      svg(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Parallel coordinates of ${children.length} children` },
        ...ordered.map((child) => line(child, axes, last(child))),
        ...axes.map(drawn),
      ),
    );
  }
}

function line(child, axes, isBest) {
  const points = axes.map((axis) => `${axis.x},${axis.y(axis.value(child)).toFixed(1)}`).join(" ");
  const said = axes.map((axis) => `${axis.name}=${text(axis.value(child))}`).join(", ");
  return svg("polyline", { points, class: isBest ? "best" : "child" }, svg("title", {}, `child ${child.number}: ${said}`));
}

function drawn(axis) {
  const bottom = HEIGHT - EDGE.bottom;
  return svg(
    "g",
    { class: "axis" },
    svg("line", { x1: axis.x, x2: axis.x, y1: EDGE.top, y2: bottom }),
    svg("text", { x: axis.x, y: 14, "text-anchor": "middle", class: "name" }, axis.isLog ? `${axis.name} (log)` : axis.name),
    ...axis.labels.map((label) => svg("text", { x: axis.x + 5, y: axis.y(label) + 4 }, text(label))),
  );
}

function axisOf({ name, value }, children, place, count) {
  const x = EDGE.side + (place * (WIDTH - 2 * EDGE.side)) / Math.max(1, count - 1);
  const all = children.map(value);
  const isNumeric = all.every((each) => typeof each === "number");
  // Two mappings are never the same to a Set, so that other values are told apart by what is shown.
  const values = isNumeric ? [...new Set(all)] : [...new Map(all.map((each) => [text(each), each])).values()];
  const scale = isNumeric ? numeric(values) : byPlace(values);
  const height = HEIGHT - EDGE.top - EDGE.bottom;
  return { name, value, x, ...scale, y: (each) => EDGE.top + (1 - scale.share(each)) * height };
}

function numeric(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const isLog = low > 0 && high / low >= LOG_FROM;
  const on = isLog ? Math.log : (each) => each;
  const share = (each) => (high > low ? (on(each) - on(low)) / (on(high) - on(low)) : 0.5);
  return { isLog, share, labels: values.length <= LABELS ? values : [low, high] };
}

function byPlace(values) {
  const names = values.map(text).sort();
  return { share: (each) => (names.indexOf(text(each)) + 0.5) / names.length, labels: values };
}

export function text(value) {
  if (typeof value === "number") return number(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}
