// Builds elements. Text goes in as text, never as markup: names and logs come from anywhere.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

const present = (children) =>
  children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

// The elements of a list that is shown again and again, one for each record. What shows the same as
// before is left in place: it keeps the focus, and a click is not lost whose button is still down.
export class Kept {
  constructor(element, { keyOf, make }) {
    this.element = element;
    this.keyOf = keyOf;
    this.make = make;
    this.made = new Map();
  }

  show(records) {
    const before = this.made;
    this.made = new Map(records.map((one) => [this.keyOf(one), renewed(before.get(this.keyOf(one)), this.make(one))]));
    const wanted = [...this.made.values()];
    const kept = new Set(wanted);
    for (const node of [...this.element.childNodes]) if (!kept.has(node)) node.remove();
    wanted.forEach((node, index) => {
      const there = this.element.childNodes[index];
      if (there !== node) this.element.insertBefore(node, there ?? null);
    });
  }
}

// The element of before, with those of its children replaced that differ from the new one's.
function renewed(old, made) {
  if (!old || old.children.length !== made.children.length || !made.children.length) {
    return old?.isEqualNode(made) ? old : made;
  }
  [...made.children].forEach((child, index) => {
    const there = old.children[index];
    if (!there.isEqualNode(child)) there.replaceWith(child);
  });
  return old;
}

// Untouched where nothing changes, so that a selection of text survives.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function status(name) {
  return el("span", { class: `status ${name}` }, name ?? "unknown");
}

export function notice(text) {
  const place = document.getElementById("notice");
  place.hidden = !text;
  setText(place, text ?? "");
}

// One of "", "live", "reconnecting…".
export function connection(text) {
  const place = document.getElementById("connection");
  place.className = text.startsWith("live") ? "live" : "";
  setText(place, text);
}
