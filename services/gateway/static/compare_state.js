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
    if (name === "jobs") state.jobs = trimmed(text.split(",").map((id, place, all) => (all.indexOf(id) === place ? id : "")));
    else if (LISTS.includes(name)) state[name] = text.split(",").filter(Boolean);
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

// The address that compares these jobs, over steps or another axis.
export const comparisonOf = (jobs, x = DEFAULTS.x) => addressOf({ ...DEFAULTS, jobs, x });

// Jobs keep their places, and with these their looks: one that is left out leaves a gap, which the
// next one that is added fills.
export function placed(before, wanted) {
  const jobs = before.map((id) => (wanted.includes(id) ? id : ""));
  for (const id of wanted) {
    if (jobs.includes(id)) continue;
    const gap = jobs.indexOf("");
    jobs[gap < 0 ? jobs.length : gap] = id;
  }
  return trimmed(jobs);
}

function trimmed(jobs) {
  return jobs.slice(0, jobs.findLastIndex(Boolean) + 1);
}

// Found by a search: any two are at least 0.11 apart in OKLab, also for eyes that lack one of the
// three kinds of cones, and each has a contrast of 3 to its card.
const COLORS = {
  light: ["#244f8f", "#c28b0a", "#0d96f2", "#8f2439", "#870bda", "#478578", "#c2410a", "#f53dbe"],
  dark: ["#2e7c9e", "#eeda2b", "#b0e2e8", "#b24d4d", "#9942f0", "#4db294", "#ec6a13", "#eb89f5"],
};
const DASHES = ["", "7 3", "2 2", "9 2 2 2", "14 4", "4 2 1 2", "1 4"];

// The color and the dash of the run at a place: no two of 50 have both in common.
export function looks(place, dark) {
  const colors = COLORS[dark ? "dark" : "light"];
  return { color: colors[place % colors.length], dash: DASHES[Math.floor(place / colors.length) % DASHES.length] };
}
