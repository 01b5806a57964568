// Server-sent events over fetch: unlike EventSource it sees statuses and can be aborted.

import { ApiError, send } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;
// A live stream carries a comment every 15 s; one that is silent for this long is dead.
const SILENCE = 45_000;
// Browsers allow six connections a host over all tabs, so a hidden page gives its own back.
const UNSEEN = 30_000;

// The events of a response: { event, id, data }.
export async function* read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const letGo = () => reader.cancel().catch(() => {});
  let rest = "";
  let silence;
  try {
    for (;;) {
      silence = setTimeout(letGo, SILENCE);
      const { value, done } = await reader.read();
      clearTimeout(silence);
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event.id || event.data !== undefined) yield event;
      }
    }
  } finally {
    clearTimeout(silence);
    letGo();
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

// Resolves when the time is over, or earlier when the signal says so.
const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

const seen = (signal) =>
  new Promise((resolve) => {
    const look = () => {
      if (document.visibilityState === "hidden" && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
    look();
  });

// A signal for one connection: it ends with the page, or when the page has not been seen for long.
function connectionOf(signal) {
  const controller = new AbortController();
  let timer;
  const look = () => {
    clearTimeout(timer);
    if (document.visibilityState === "hidden") timer = setTimeout(() => controller.abort(), UNSEEN);
  };
  const end = () => controller.abort();
  document.addEventListener("visibilitychange", look);
  signal.addEventListener("abort", end);
  look();
  const close = () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
    signal.removeEventListener("abort", end);
  };
  return { signal: controller.signal, close };
}

// Follows a stream until its end (204), through broken connections, from the last event on.
// `cursor.id` is that event's, and outlives this call.
export async function follow(path, { signal, cursor, onEvent, onState }) {
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    await seen(signal);
    const connection = connectionOf(signal);
    let heard = false;
    try {
      const headers = cursor.id ? { "Last-Event-ID": cursor.id } : {};
      const response = await send("GET", path, { signal: connection.signal, headers });
      if (response.status === 204) {
        onState("ended");
        return;
      }
      onState("live");
      for await (const event of read(response)) {
        heard = true;
        wait = FIRST_WAIT;
        if (event.id) cursor.id = event.id;
        if (event.data !== undefined) onEvent(event.event, event.data);
      }
      // A closed stream has most often ended. Asked again, the server says which.
      if (heard) continue;
    } catch (error) {
      if (signal.aborted) return;
      if (connection.signal.aborted) continue;
      if (error instanceof ApiError && !error.passing) throw error;
    } finally {
      connection.close();
    }
    onState("reconnecting");
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}
