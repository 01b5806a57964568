// Shows the page that the address names: #/ lists jobs, #/jobs/ID is one of them.

import { useToken } from "./api.js";
import { connection, el, fill, notice } from "./dom.js";
import { JobList } from "./job_list.js";
import { JobPage } from "./job_page.js";

const page = document.getElementById("page");
let open = null;

function show() {
  open?.close();
  notice("");
  connection("");
  document.title = "Training Engine";
  const [, job] = location.hash.match(/^#\/jobs\/(.+)$/) ?? [];
  open = job ? new JobPage(page, decodeURIComponent(job)) : new JobList(page);
  page.focus({ preventScroll: true });
}

function askForToken() {
  open?.close();
  open = null;
  const token = el("input", { type: "password", required: true, autocomplete: "off" });
  const enter = (event) => {
    event.preventDefault();
    useToken(token.value);
    show();
  };
  fill(
    page,
    el(
      "form",
      { class: "card", onsubmit: enter },
      el("h1", {}, "This gateway asks for a token"),
      el("div", { class: "row" }, el("label", {}, "Token", token), el("button", {}, "Enter")),
    ),
  );
  token.focus();
}

window.addEventListener("hashchange", show);
window.addEventListener("unhandledrejection", (event) => {
  if (event.reason?.status !== 401) return;
  event.preventDefault();
  askForToken();
});
show();
