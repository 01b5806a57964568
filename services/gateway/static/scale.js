// From values to pixels, and the round numbers between.

// At most `most` + 1 round numbers between low and high, both included where they are round.
export function ticks(low, high, most, whole = false) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const gap = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const step = whole ? Math.max(1, Math.round(gap)) : gap;
  const found = new Set();
  const first = Math.ceil(low / step - 1e-9);
  // A bounded number of them: beyond 2^53 a multiple and the next one are the same number.
  for (let more = 0; more <= most + 1 && (first + more) * step <= high + step * 1e-9; more += 1) {
    // Multiples, not sums: 0.1 + 0.2 would show.
    found.add(Number(((first + more) * step).toPrecision(12)));
  }
  return [...found];
}

// Half of the greatest number: the width of an axis is a number too.
const MOST = 8e307;
// Values whose difference is a smaller part of them are one value: it is noise of rounding.
const NOISE = 1e-12;

export const bounded = (value) => Math.max(-MOST, Math.min(MOST, value));

// The ends of an axis for values from low to high, with a little air: a share of their distance.
export function aired(low, high, share) {
  const [least, greatest] = [bounded(low), bounded(high)];
  const size = Math.max(Math.abs(least), Math.abs(greatest));
  const margin = (greatest - least > NOISE * size ? greatest - least : size || 1) * share;
  return [least - margin, greatest + margin];
}

// The values that `names` take in `points`, with a little air: { low, high, first, last } or null.
export function extent(points, names) {
  let [low, high] = [Infinity, -Infinity];
  for (const point of points) {
    for (const name of names) {
      const value = point[name];
      if (value === null || value === undefined) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return null;
  const [bottom, top] = aired(low, high, 0.06);
  const floor = low >= 0 ? Math.max(0, bottom) : bottom;
  const first = points[0].step;
  return { low: floor, high: top, first, last: Math.max(points.at(-1).step, first + 1) };
}

export class Scale {
  constructor(area, range) {
    Object.assign(this, area, range);
  }

  x(step) {
    return this.left + ((step - this.first) / (this.last - this.first)) * this.width;
  }

  y(value) {
    return this.top + (1 - (bounded(value) - this.low) / (this.high - this.low)) * this.height;
  }

  step(x) {
    return this.first + ((x - this.left) / this.width) * (this.last - this.first);
  }
}
