// Server-sent events over fetch: unlike EventSource it sees statuses, and carries a token.

import { ApiError, send } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;

// The events of a response: { event, id, data }.
export async function* read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event.id || event.data !== undefined) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon <= 0) continue;
    const value = line.slice(colon + 2);
    event[line.slice(0, colon)] = line.startsWith("data") ? JSON.parse(value) : value;
  }
  return event;
}

const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

// Follows a stream until its end (204), through broken connections, from the last event on.
export async function follow(path, { signal, onEvent, onState }) {
  let cursor = "";
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    try {
      const headers = cursor ? { "Last-Event-ID": cursor } : {};
      const response = await send("GET", path, { signal, headers });
      if (response.status === 204) {
        onState("ended");
        return;
      }
      onState("live");
      for await (const event of read(response)) {
        if (event.id) cursor = event.id;
        wait = FIRST_WAIT;
        if (event.data !== undefined) onEvent(event.event, event.data);
      }
    } catch (error) {
      if (signal.aborted) return;
      // 503 and 429 pass; what else the server refuses will not get better.
      const lasting = error instanceof ApiError && ![429, 503].includes(error.status);
      if (lasting) throw error;
    }
    onState("reconnecting");
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}
