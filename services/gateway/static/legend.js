// Which line is which run: a piece of the line, as it is drawn. As elements, and within a picture.

import { el, setText, svg } from "./dom.js";

const [LONG, HIGH] = [22, 10];

// A piece of a line, for a page. It tells nothing that the name beside it does not.
export function swatch({ color, dash }) {
  const picture = svg("svg", { width: LONG, height: HIGH, class: "swatch", "aria-hidden": "true" }, svg("line", {}));
  dressed(picture.firstChild, { color, dash });
  return picture;
}

function dressed(line, { color, dash }) {
  const looks = { x1: 0, x2: LONG, y1: HIGH / 2, y2: HIGH / 2, stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash || "none" };
  for (const [name, value] of Object.entries(looks)) line.setAttribute(name, value);
}

// Names and values below a chart, in cells of one size: what is read changes no layout.
export class Legend {
  constructor() {
    this.where = el("p", { class: "soft" });
    this.list = el("ul", {});
    this.rest = el("p", { class: "soft" });
    this.element = el("div", { class: "reading" }, this.where, this.list, this.rest);
    this.cells = [];
  }

  // entries: [{ label, color, dash, text, meant }].
  show(where, entries, rest = "") {
    setText(this.where, where);
    while (this.cells.length > entries.length) this.cells.pop().item.remove();
    while (this.cells.length < entries.length) this.#add();
    entries.forEach((entry, place) => fillCell(this.cells[place], entry));
    setText(this.rest, rest);
    this.rest.hidden = !rest;
  }

  #add() {
    const [sample, name, value] = [swatch({}), el("span", { class: "run" }), el("span", { class: "value" })];
    const item = el("li", {}, sample, name, " ", value);
    this.list.append(item);
    this.cells.push({ item, line: sample.firstChild, name, value });
  }
}

function fillCell(cell, { label, color, dash, text, meant }) {
  dressed(cell.line, { color, dash });
  setText(cell.name, label);
  cell.name.title = label;
  setText(cell.value, text);
  cell.item.classList.toggle("meant", Boolean(meant));
}

const [ROW, LETTER, TITLE, EDGE] = [18, 6.4, 26, 12];

// A chart as a picture that says by itself what it shows: title above, runs below, colors in it.
// runs: [{ label, color, dash }].
export function pictureOf(chart, title, runs) {
  const [, , width, height] = chart.getAttribute("viewBox").split(" ").map(Number);
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const longest = Math.max(0, ...runs.map(({ label }) => label.length));
  const cell = Math.min(width - 2 * EDGE, LONG + 20 + LETTER * longest);
  const across = Math.max(1, Math.floor((width - 2 * EDGE) / cell));
  const letters = Math.floor((cell - LONG - 14) / LETTER);
  const whole = TITLE + height + ROW * Math.ceil(runs.length / across) + EDGE;
  const words = (text, x, y, size, fill) => svg("text", { x, y, fill, "font-size": size, "font-family": "system-ui, sans-serif" }, text);
  const drawn = svg("g", { transform: `translate(0 ${TITLE})` }, ...[...chart.childNodes].map((node) => node.cloneNode(true)));
  const keys = runs.map(({ label, ...look }, place) => {
    const group = svg("g", { transform: `translate(${EDGE + (place % across) * cell} ${TITLE + height + 4 + ROW * Math.floor(place / across)})` }, svg("line", {}));
    dressed(group.firstChild, look);
    group.append(words(label.length > letters ? `${label.slice(0, letters - 1)}…` : label, LONG + 6, HIGH / 2 + 4, 11, color("--text")));
    return group;
  });
  const back = svg("rect", { width, height: whole, fill: color("--card") });
  return svg("svg", { viewBox: `0 0 ${width} ${whole}`, width, height: whole, role: "img", "aria-label": title }, back, words(title, EDGE, 18, 14, color("--text")), drawn, ...keys);
}
