// What the comparison shows, as the address keeps it: #/compare?jobs=…&metrics=…&x=tokens.

const DEFAULTS = { jobs: [], metrics: ["val_loss", "loss"], x: "step", smoothing: 0, logx: false, logy: false, from: null, to: null, sort: "", down: false };
export const MOST_RUNS = 50;
const LISTS = ["jobs", "metrics"];
const FLAGS = ["logx", "logy", "down"];
const NUMBERS = ["smoothing", "from", "to"];

export function readState(query) {
  const given = new URLSearchParams(query);
  const state = { ...DEFAULTS };
  for (const [name, text] of given) {
    if (!(name in DEFAULTS)) continue;
    if (LISTS.includes(name)) state[name] = text.split(",").filter(Boolean);
    else if (FLAGS.includes(name)) state[name] = text === "1";
    else if (NUMBERS.includes(name)) state[name] = Number.isFinite(Number(text)) ? Number(text) : DEFAULTS[name];
    else state[name] = text;
  }
  return state;
}

// Only what differs from the defaults, so that an address stays short.
export function addressOf(state) {
  const parts = [];
  for (const [name, usual] of Object.entries(DEFAULTS)) {
    const value = state[name];
    if (value === null || String(value) === String(usual)) continue;
    const text = LISTS.includes(name) ? value.map(encodeURIComponent).join(",") : encodeURIComponent(value === true ? "1" : value);
    parts.push(`${name}=${text}`);
  }
  return `#/compare${parts.length ? `?${parts.join("&")}` : ""}`;
}

// The address that compares these jobs.
export const comparisonOf = (jobs) => addressOf({ ...DEFAULTS, jobs });

// A color and a dash for the run at a place; neighbours are far apart in hue.
export function looks(place, dark) {
  const hue = Math.round((place * 137.508 + 215) % 360);
  return { color: `hsl(${hue} 65% ${dark ? 65 : 42}%)`, dash: ["", "6 3", "2 2", "8 2 2 2"][Math.floor(place / 12) % 4] };
}
