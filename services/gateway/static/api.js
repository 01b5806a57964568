// The REST API, seen from the page. Errors are problem+json and become ApiError.

// Beside this page, wherever a proxy shows it: https://host/prefix/ has its API at /prefix/api.
const GATEWAY = new URL("../", import.meta.url);
const ROOT = `${GATEWAY.pathname}api/training`;
const SESSION = `${GATEWAY.pathname}api/session`;

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the gateway answered with status ${status}`);
    this.status = status;
    this.reason = problem.reason;
    // What is wrong with which field; empty where the request as a whole is refused.
    this.fields = problem.errors ?? [];
  }

  // The server may be busy, restarting or away; the same request may succeed later.
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const away = () =>
  new ApiError(0, {
    detail: `The gateway at ${GATEWAY.href} does not answer. Is “training-engine up” still running?`,
  });

function refusal(url, status, text) {
  // The session has ended: whatever is open gives way to the question for a token.
  if (status === 401 && url !== SESSION) window.dispatchEvent(new Event("signed-out"));
  try {
    return new ApiError(status, JSON.parse(text));
  } catch {
    return new ApiError(status, {});
  }
}

async function request(method, url, { body, signal, headers } = {}) {
  let response;
  try {
    response = await fetch(url, {
      method,
      signal,
      cache: "no-store",
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw signal?.aborted ? error : away();
  }
  if (response.ok) return response;
  throw refusal(url, response.status, await response.text());
}

export const send = (method, path, options) => request(method, ROOT + path, options);

export async function get(path, options) {
  return (await send("GET", path, options)).json();
}

// The bytes of the answer's message, for what `protobuf.js` reads.
export async function getBytes(path, { signal } = {}) {
  const answer = await send("GET", path, { signal, headers: { Accept: "application/protobuf" } });
  return new Uint8Array(await answer.arrayBuffer());
}

// The key makes a retried request change things once.
export async function post(path, body, { signal } = {}) {
  return (await send("POST", path, { body, signal, headers: { "Idempotency-Key": key() } })).json();
}

export async function patch(path, body, { signal } = {}) {
  return (await send("PATCH", path, { body, signal, headers: { "Idempotency-Key": key() } })).json();
}

export const remove = (path) => send("DELETE", path, { headers: { "Idempotency-Key": key() } });

// Only pages from https or this machine have randomUUID.
const key = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

// Uploads a file as a dataset. It does not use fetch, which reports no progress of an upload.
export function upload(file, { signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const url = `${ROOT}/datasets?${new URLSearchParams({ name: file.name })}`;
    call.open("POST", url);
    call.setRequestHeader("Content-Type", "application/octet-stream");
    call.setRequestHeader("Idempotency-Key", key());
    call.upload.onprogress = (event) => onProgress(event.loaded / Math.max(1, event.total));
    call.onerror = () => reject(away());
    call.onabort = () => reject(new ApiError(0, { detail: "The upload was cancelled." }));
    call.onload = () => {
      if (call.status === 201) resolve(JSON.parse(call.responseText));
      else reject(refusal(url, call.status, call.responseText));
    };
    signal.addEventListener("abort", () => call.abort(), { once: true });
    call.send(file);
  });
}

// The session lives in a cookie that scripts cannot read; download links carry it too.
export const session = {
  read: async () => (await request("GET", SESSION)).json(),
  begin: (token) => request("POST", SESSION, { body: { token } }),
  end: () => request("DELETE", SESSION),
};

export const at = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;
export const urlOf = (...parts) => ROOT + at(...parts);
