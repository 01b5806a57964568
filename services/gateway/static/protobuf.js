// Reads protobuf's binary form, in which the numbers of curves are copied and not parsed.

const text = new TextDecoder();

// Calls onField(number, value) for each field of a message: a number, or the bytes of anything else.
function readFields(bytes, onField) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let place = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[place++];
      value += (byte & 127) * factor;
      if (!(byte > 127)) return value; // the end of the bytes too
    }
  };
  while (place < bytes.length) {
    const key = varint();
    const [number, kind] = [Math.floor(key / 8), key % 8];
    if (kind === 0) {
      onField(number, varint());
    } else if (kind === 1) {
      onField(number, view.getFloat64(place, true));
      place += 8;
    } else if (kind === 2) {
      const length = varint();
      onField(number, bytes.subarray(place, place + length));
      place += length;
    } else {
      throw new Error(`the answer has a field of kind ${kind}, which this page does not read; reload it`);
    }
  }
}

// A copy, since numbers have to begin at a multiple of their size.
const doubles = (bytes) => new Float64Array(bytes.slice().buffer);
const words = (bytes) => text.decode(bytes);
const same = (value) => value;

// Fields of `Series` in metrics.proto.
const SERIES = {
  1: ["job_id", words],
  2: ["metric", words],
  3: ["x", doubles],
  4: ["y", doubles],
  5: ["from_start", Boolean],
  6: ["count", same],
  7: ["last", same],
  8: ["min", same],
  9: ["min_step", same],
  10: ["max", same],
  11: ["max_step", same],
  12: ["best", same],
  13: ["best_step", same],
};

function readOne(bytes) {
  const series = { x: new Float64Array(), y: new Float64Array(), from_start: false, count: 0 };
  readFields(bytes, (number, value) => {
    const [name, read] = SERIES[number] ?? [];
    if (name) series[name] = read(value);
  });
  return series;
}

// The answer of GetSeries: { series, metric_names, cursor }.
export function readSeries(bytes) {
  const answer = { series: [], metric_names: [], cursor: "" };
  readFields(bytes, (number, value) => {
    if (number === 1) answer.series.push(readOne(value));
    else if (number === 2) answer.metric_names.push(words(value));
    else if (number === 3) answer.cursor = words(value);
  });
  return answer;
}
