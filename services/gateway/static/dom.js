// Builds elements. Text goes in as text, never as markup: names and logs come from anywhere.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null));
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function status(name) {
  return el("span", { class: `status ${name}` }, name ?? "unknown");
}

export function notice(text) {
  const place = document.getElementById("notice");
  place.hidden = !text;
  place.textContent = text ?? "";
}

export function connection(text) {
  setText(document.getElementById("connection"), text);
}
