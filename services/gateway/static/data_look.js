// Shows before a start what training would learn of the data, as the server finds it.

import { post } from "./api.js";
import { el, fill } from "./dom.js";
import { bytes, count, many, number, percent } from "./format.js";

const FILES = 20;

export class DataLook {
  // `requestBody` returns the body of the request: the configuration and the path of the data.
  constructor(signal, requestBody) {
    this.signal = signal;
    this.requestBody = requestBody;
    this.button = el("button", { type: "button", onclick: () => this.#look() }, "Look into the data");
    this.found = el("div", { id: "data-look", role: "status" });
    this.element = el("div", {}, this.button, this.found);
  }

  async #look() {
    this.button.disabled = true;
    fill(this.found, el("p", { class: "hint" }, "Reading the beginning of the data…"));
    try {
      const found = await post("/datasets/inspect", this.requestBody(), { signal: this.signal });
      fill(this.found, shown(found));
    } catch (error) {
      if (!this.signal.aborted) fill(this.found, el("p", { class: "hint" }, error.message));
    } finally {
      this.button.disabled = false;
    }
  }
}

function shown(found) {
  const files = found.files.slice(0, FILES).map((file) => el("li", {}, aboutFile(file)));
  const more = found.more_files + found.files.length - files.length;
  return [
    el("p", { class: "hint" }, counts(found).join("\n")),
    el("ul", {}, files, more ? el("li", {}, `and ${many(more, "more file")}`) : null),
    found.windows.map((window, place) =>
      el("pre", { "aria-label": `Window ${place + 1}`, tabindex: "0" }, window.segments.map(segment)),
    ),
    found.windows.some((window) => window.segments.some(({ trained }) => !trained))
      ? el("p", { class: "hint" }, "What is not trained on is underlined.")
      : null,
  ];
}

const segment = ({ text, trained }) => (trained ? text : el("u", {}, text));

function aboutFile({ path, use, form, size_bytes: size, reason, documents, tokens, complete }) {
  const about = `${use}: ${path} (${[form, bytes(size)].filter(Boolean).join(", ")})`;
  if (use !== "train") return reason ? `${about}: ${reason}` : about;
  const read = `${many(documents, "document")}, ${many(tokens, "token")}${complete ? "" : ", the beginning alone"}`;
  return `${about}: ${read}${reason ? `; ${reason}` : ""}`;
}

function counts(found) {
  const { complete, estimated_tokens: estimated, epochs, lengths, problems, sources, warnings } = found;
  return [
    ...problems.map(({ message }) => `Problem: ${message}`),
    ...warnings.map(({ message }) => `Warning: ${message}`),
    `${many(found.documents, "document")}, ${many(found.characters, "character")}, ${many(found.tokens, "token")}` +
      (complete ? "" : " in the part that was read") +
      (!complete && estimated !== null ? `, about ${count(estimated)} in all` : ""),
    `${count(found.empty_documents)} empty, ${count(found.duplicate_documents)} equal to an earlier one`,
    `${count(found.vocabulary_used)} different ids; ${percent(found.unknown_share)} of the tokens are unknown text, ` +
      `${percent(found.rare_share)} occur once`,
    lengths.length
      ? `Documents by tokens: ${lengths.map((one) => `from ${count(one.tokens_from)}: ${count(one.documents)}`).join(", ")}`
      : null,
    ...sources.map(
      (one) =>
        `${percent(one.share)} of the samples are of ${one.path}` +
        (one.epochs === null ? "" : `; max_steps goes through it ${number(one.epochs, 3)} times`),
    ),
    epochs === null ? null : `max_steps goes through the data ${number(epochs, 3)} times`,
  ].filter(Boolean);
}
