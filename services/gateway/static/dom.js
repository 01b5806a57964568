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

export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

const present = (children) =>
  children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

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
