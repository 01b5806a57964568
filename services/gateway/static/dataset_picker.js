// Which data a new job trains on: a path that the server may read, or an uploaded file.

import { get, upload } from "./api.js";
import { el, fill, setText } from "./dom.js";
import { bytes, percent } from "./format.js";

const PATH = "";
const SCHEME = "dataset://";

export class DatasetPicker {
  // onChange is called when other data may have been chosen; `empty` says what no path means.
  constructor(signal, onChange, empty = "Empty: the configuration’s own dataset_path.") {
    this.signal = signal;
    this.nothing = empty;
    this.onChange = onChange;
    this.datasets = [];
    this.source = el("select", { id: "source", onchange: () => this.#show() });
    this.path = el("input", {
      type: "text",
      spellcheck: "false",
      placeholder: "text.txt",
      oninput: () => this.onChange(),
      "aria-describedby": "dataset-hint dataset-problems",
    });
    this.pathLabel = el("label", {}, "Path", this.path);
    this.file = el("input", { type: "file", class: "unseen", id: "dataset-file", onchange: () => this.#upload() });
    this.bar = el("progress", { max: "1", value: "0", hidden: true, "aria-label": "Upload" });
    this.said = el("p", { class: "hint", id: "dataset-hint", role: "status" });
    this.element = el(
      "div",
      {},
      el(
        "div",
        { class: "row" },
        el("label", {}, "Data", this.source),
        this.pathLabel,
        el("span", { class: "upload" }, this.file, el("label", { class: "button", for: "dataset-file" }, "Upload a file…")),
      ),
      this.bar,
      this.said,
    );
    this.#offer(PATH);
    this.#load();
  }

  // What StartJob takes as dataset_path; null leaves it to the configuration.
  get value() {
    return this.source.value === PATH ? this.path.value.trim() || null : this.source.value;
  }

  set value(dataset) {
    if (dataset?.startsWith(SCHEME)) {
      this.wanted = dataset;
      this.#offer(dataset);
    } else {
      this.path.value = dataset ?? "";
    }
  }

  focus() {
    (this.source.value === PATH ? this.path : this.source).focus();
  }

  async #load() {
    try {
      const { datasets } = await get("/datasets?page_size=1000", { signal: this.signal });
      // A file that was uploaded meanwhile may be missing in the answer.
      const listed = new Set(datasets.map((one) => one.dataset_id));
      this.datasets = [...this.datasets.filter((one) => !listed.has(one.dataset_id)), ...datasets];
      this.#offer(this.wanted ?? this.source.value);
    } catch (error) {
      if (!this.signal.aborted) setText(this.said, error.message);
    }
  }

  #offer(chosen) {
    fill(
      this.source,
      el("option", { value: PATH }, "a file or folder on the server"),
      this.datasets.map((one) => el("option", { value: SCHEME + one.dataset_id }, `${one.name} (${bytes(one.size_bytes)}, uploaded)`)),
    );
    this.source.value = chosen;
    if (this.source.selectedIndex < 0) this.source.value = PATH;
    this.#show();
  }

  #show() {
    const byPath = this.source.value === PATH;
    this.pathLabel.hidden = !byPath;
    setText(
      this.said,
      byPath
        ? `Text, .jsonl, .parquet, .bin or .npy under a folder that the server may read (--data-root). ${this.nothing}`
        : `The configuration’s dataset_path would be ${this.source.value}.`,
    );
    this.onChange();
  }

  async #upload() {
    const [file] = this.file.files;
    if (!file) return;
    this.bar.hidden = false;
    const onProgress = (share) => {
      this.bar.value = share;
      setText(this.said, `${file.name}: ${percent(share)} of ${bytes(file.size)} sent`);
    };
    try {
      const stored = await upload(file, { signal: this.signal, onProgress });
      this.datasets.unshift(stored);
      this.wanted = SCHEME + stored.dataset_id;
      this.#offer(this.wanted);
    } catch (error) {
      if (!this.signal.aborted) setText(this.said, `${file.name} was not stored: ${error.message}`);
    } finally {
      this.bar.hidden = true;
      this.file.value = "";
    }
  }
}
