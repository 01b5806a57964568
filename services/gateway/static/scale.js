// From values to pixels, and the round numbers between.

// At most `most` + 1 round numbers between low and high, both included where they are round.
export function ticks(low, high, most, whole = false) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const gap = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const step = whole ? Math.max(1, Math.round(gap)) : gap;
  const found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place += 1) {
    // Multiples, not sums: 0.1 + 0.2 would show.
    found.push(Number((place * step).toPrecision(12)));
  }
  return found;
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
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  const floor = low >= 0 ? Math.max(0, low - margin) : low - margin;
  const first = points[0].step;
  return { low: floor, high: high + margin, first, last: Math.max(points.at(-1).step, first + 1) };
}

export class Scale {
  constructor(area, range) {
    Object.assign(this, area, range);
  }

  x(step) {
    return this.left + ((step - this.first) / (this.last - this.first)) * this.width;
  }

  y(value) {
    return this.top + (1 - (value - this.low) / (this.high - this.low)) * this.height;
  }

  step(x) {
    return this.first + ((x - this.left) / this.width) * (this.last - this.first);
  }
}
