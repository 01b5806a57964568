// The REST API, seen from the page. Errors are problem+json and become ApiError.

const ROOT = "/api/training";
const TOKEN = "training-engine-token";

export class ApiError extends Error {
  constructor(status, problem) {
    const fields = (problem.errors ?? []).map((error) => `\n${error.message}`).join("");
    super((problem.detail || problem.title || `status ${status}`) + fields);
    this.status = status;
    this.reason = problem.reason;
  }
}

// Kept for this tab only, and only where the gateway asks for one.
export function useToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export async function send(method, path, { body, signal, headers } = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const response = await fetch(ROOT + path, {
    method,
    signal,
    cache: "no-store",
    headers: {
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: response.statusText }));
    throw new ApiError(response.status, problem);
  }
  return response;
}

export async function get(path, options) {
  return (await send("GET", path, options)).json();
}

// The key makes a repeated click or a retried request change things once.
export async function post(path, body) {
  const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  return (await send("POST", path, { body, headers: { "Idempotency-Key": key } })).json();
}

export const at = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;
export const downloadUrl = (id) => `${ROOT}${at("checkpoints", id, "download")}`;
