// Values as people read them.

export const NONE = "–";

const absent = (value) => value === null || value === undefined;

export function number(value, digits = 4) {
  if (absent(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(digits)));
}

export function count(value) {
  return absent(value) ? NONE : value.toLocaleString("en");
}

// A place on an axis: 2.5M from a million on.
export function place(value) {
  return Math.abs(value) < 1e6 ? count(value) : value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 6 });
}

export function rounded(value) {
  return absent(value) ? NONE : count(Math.round(value));
}

export function many(amount, noun) {
  return `${count(amount)} ${noun}${amount === 1 ? "" : "s"}`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

// Made once: to make one takes a hundred times as long as to use it.
const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat([], { day: "numeric", month: "short" });
const DAY_AND_YEAR = new Intl.DateTimeFormat([], { day: "numeric", month: "short", year: "numeric" });

// The time of day for today, else the date too.
export function time(text) {
  if (!text) return NONE;
  const moment = new Date(text);
  const clock = CLOCK.format(moment);
  if (moment.toDateString() === new Date().toDateString()) return clock;
  const thisYear = moment.getFullYear() === new Date().getFullYear();
  const day = (thisYear ? DAY : DAY_AND_YEAR).format(moment);
  return `${day}, ${clock}`;
}

export function duration(seconds) {
  if (absent(seconds)) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export function percent(share) {
  // No line break between the number and its sign.
  return `${(100 * (share ?? 0)).toFixed(share === 1 ? 0 : 1)}\u00a0%`;
}
