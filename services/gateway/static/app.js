// Shows the page that the address names: #/ lists jobs, #/start starts one, #/jobs/ID is one,
// #/compare draws several over each other.
// #/fork/CHECKPOINT starts one from a checkpoint. #/sweeps lists sweeps, #/sweeps/ID is one.

import { session } from "./api.js";
import { ComparePage } from "./compare_page.js";
import { dismiss } from "./dialog.js";
import { connection, el, fill, notice } from "./dom.js";
import { ForkPage } from "./fork_page.js";
import { JobList } from "./job_list.js";
import { JobPage } from "./job_page.js";
import { StartPage } from "./start_page.js";
import { SweepList } from "./sweep_list.js";
import { SweepPage } from "./sweep_page.js";

const page = document.getElementById("page");
const signOut = document.getElementById("sign-out");
let open = null;

function close() {
  dismiss();
  open?.close();
  open = null;
  notice("");
  connection("");
}

// The text itself where its escapes are not valid: no job has such an id.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function show() {
  close();
  document.title = "Training Engine";
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [kind, id] = path.split("/");
  if (kind === "jobs" && id) open = new JobPage(page, decoded(id));
  else if (kind === "fork" && id) open = new ForkPage(page, decoded(id));
  else if (kind === "sweeps") open = id ? new SweepPage(page, decoded(id)) : new SweepList(page);
  else if (kind === "start") open = new StartPage(page, new URLSearchParams(query).get("from"));
  else if (kind === "compare") open = new ComparePage(page, query);
  else open = new JobList(page);
  window.scrollTo(0, 0);
  page.focus({ preventScroll: true });
}

function askForToken() {
  if (document.getElementById("token")) return;
  close();
  signOut.hidden = true;
  document.title = "Sign in – Training Engine";
  const token = el("input", { id: "token", type: "password", required: true, autocomplete: "current-password" });
  const trouble = el("p", { class: "error", role: "alert" });
  const enter = async (event) => {
    event.preventDefault();
    try {
      await session.begin(token.value);
      await begin();
    } catch (error) {
      trouble.textContent = error.message;
      token.select();
    }
  };
  fill(
    page,
    el(
      "form",
      { class: "card narrow", onsubmit: enter },
      el("h1", {}, "This gateway asks for a token"),
      el("p", { class: "soft" }, "It is one of the tokens that the gateway was started with."),
      el("div", { class: "row" }, el("label", {}, "Token", token), el("button", { class: "primary" }, "Sign in")),
      trouble,
    ),
  );
  token.focus();
}

async function begin() {
  // Where the gateway is away, the page that opens says so.
  const { required, authenticated } = await session.read().catch(() => ({ required: false, authenticated: true }));
  if (!authenticated) {
    askForToken();
    return;
  }
  signOut.hidden = !required;
  show();
}

signOut.addEventListener("click", () => session.end().then(askForToken, (error) => notice(error.message)));
window.addEventListener("hashchange", () => document.getElementById("token") || show());
window.addEventListener("signed-out", askForToken);
begin();
