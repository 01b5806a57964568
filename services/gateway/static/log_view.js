// What the trainer printed, its last lines, following the end unless the reader has scrolled up.

import { el } from "./dom.js";
import { time } from "./format.js";

const LINES = 1000;
const NEAR_THE_END = 20;

export class LogView {
  constructor() {
    this.lines = [];
    this.text = el("pre", { tabindex: "0", "aria-label": "Log, last lines" }, "…");
    this.element = el("section", { class: "card" }, el("h2", {}, "Log"), this.text);
  }

  close() {
    clearTimeout(this.timer);
  }

  clear() {
    this.lines = [];
  }

  // `ended`: no line will come any more.
  sayEmpty(ended) {
    if (this.lines.length === 0) this.text.textContent = ended ? "Nothing was printed." : "Nothing has been printed yet.";
  }

  add(line) {
    this.lines.push(`${time(line.created_at)}  ${line.text}`);
    if (this.lines.length > LINES) this.lines.splice(0, this.lines.length - LINES);
    // Many lines may come at once; they are shown together.
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.#show();
    }, 200);
  }

  #show() {
    const { scrollTop, clientHeight, scrollHeight } = this.text;
    const following = scrollTop + clientHeight >= scrollHeight - NEAR_THE_END;
    this.text.textContent = this.lines.join("\n");
    if (following) this.text.scrollTop = this.text.scrollHeight;
  }
}
