// Starts a job: its configuration as text, its data, its name. The server alone says what is wrong.

import { AnnotationFields } from "./annotation_fields.js";
import { at, get, post } from "./api.js";
import { DataLook } from "./data_look.js";
import { DatasetPicker } from "./dataset_picker.js";
import { connection, el, fill, notice, setText } from "./dom.js";
import { FIRST_CONFIG } from "./first_config.js";
import { bytes, count, many } from "./format.js";

const TYPING = 400;
const DATA_FIELDS = ["dataset_path", "val_dataset_path"];

export class StartPage {
  constructor(page, from) {
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.data = new DatasetPicker(this.signal, () => this.#checkSoon());
    this.look = new DataLook(this.signal, () => this.#requestBody());
    this.name = el("input", {
      type: "text",
      maxlength: "200",
      placeholder: "my first run",
      "aria-describedby": "name-problems",
    });
    this.annotations = new AnnotationFields();
    this.config = el("textarea", {
      id: "config",
      class: "code",
      rows: "22",
      spellcheck: "false",
      wrap: "off",
      "aria-describedby": "verdict config-problems",
      oninput: () => this.#checkSoon(),
    });
    this.config.value = FIRST_CONFIG;
    this.verdict = el("p", { class: "hint", id: "verdict", role: "status" }, "\u00a0");
    this.problems = {
      name: el("ul", { id: "name-problems", class: "problems" }),
      data: el("ul", { id: "dataset-problems", class: "problems" }),
      config: el("ul", { id: "config-problems", class: "problems" }),
    };
    this.go = el("button", { type: "submit", class: "primary" }, "Start");
    fill(page, this.#form());
    document.title = "Start a job – Training Engine";
    if (from) this.#takeFrom(from);
    else this.#check();
  }

  close() {
    clearTimeout(this.timer);
    this.controller.abort();
  }

  #form() {
    return el(
      "form",
      { onsubmit: (event) => (event.preventDefault(), this.#start()), "aria-labelledby": "start-title", novalidate: true },
      el("div", { class: "head" }, el("h1", { id: "start-title" }, "Start a job")),
      el(
        "section",
        { class: "card" },
        el("label", {}, el("span", {}, "Name ", el("small", {}, "(may be empty)")), this.name),
        this.problems.name,
        this.annotations.elements,
        this.data.element,
        this.problems.data,
        this.look.element,
      ),
      el(
        "section",
        { class: "card" },
        el("label", { for: "config" }, "Configuration ", el("small", {}, "(YAML or JSON)")),
        this.config,
        this.verdict,
        this.problems.config,
      ),
      el("div", { class: "row end" }, el("a", { class: "button", href: "#/" }, "Cancel"), this.go),
    );
  }

  async #takeFrom(jobId) {
    try {
      const { config, name, dataset_path: path } = await get(at("jobs", jobId), { signal: this.signal });
      this.config.value = `${JSON.stringify(givenFields(config), null, 2)}\n`;
      this.name.value = name;
      this.data.value = path;
    } catch (error) {
      if (!this.signal.aborted) notice(error.message);
    }
    await this.#check();
  }

  #checkSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#check(), TYPING);
  }

  // Says what the configuration and the data amount to, or what Start would refuse, while they are
  // being written.
  async #check() {
    const body = this.#requestBody();
    const check = (this.checking = {});
    try {
      const report = await post("/configs/validate", body, { signal: this.signal });
      if (this.signal.aborted || check !== this.checking) return;
      connection("");
      this.#showProblems(placed(report.errors));
      setText(this.verdict, verdict(report));
    } catch (error) {
      if (this.signal.aborted || check !== this.checking) return;
      setText(this.verdict, error.message);
    }
  }

  // What is checked is what is started. Data chosen beside the configuration wins over its own.
  #requestBody() {
    return { config: this.config.value, dataset_path: this.data.value };
  }

  async #start() {
    if (this.sending) return;
    this.sending = true;
    this.go.disabled = true;
    clearTimeout(this.timer);
    notice("");
    try {
      const job = await post("/jobs/start", {
        ...this.#requestBody(),
        name: this.name.value.trim() || null,
        ...this.annotations.value,
      });
      location.hash = `#/jobs/${encodeURIComponent(job.job_id)}`;
    } catch (error) {
      if (!this.signal.aborted) this.#refuse(error);
    } finally {
      this.sending = false;
      this.go.disabled = false;
    }
  }

  #refuse(error) {
    const others = this.annotations.take(error.fields);
    const name = others.filter(({ field }) => field === "name");
    const { data, config } = placed(others.filter((problem) => !name.includes(problem)));
    this.#showProblems({ name, data, config });
    const found = error.fields.length;
    notice(found ? `The job was not started: ${many(found, "problem")}, marked below.` : error.message);
    if (name.length) this.name.focus();
    else if (data.length) this.data.focus();
    else if (config.length) this.config.focus();
  }

  #showProblems(found) {
    const inputs = { name: this.name, data: this.data.path, config: this.config };
    for (const [place, problems] of Object.entries(found)) {
      inputs[place].setAttribute("aria-invalid", String(problems.length > 0));
      fill(this.problems[place], problems.map((problem) => this.#problem(place, problem)));
    }
  }

  #problem(place, { field, message }) {
    const line = place === "config" ? lineOf(this.config.value, field) : null;
    if (!line) return el("li", {}, message);
    const show = () => {
      this.config.focus();
      this.config.setSelectionRange(line.start, line.end);
    };
    return el("li", {}, message, " ", el("button", { type: "button", class: "plain", onclick: show }, `line ${line.number}`));
  }
}

// A resolved configuration without what the service decides itself and what is not set.
function givenFields(config) {
  const { checkpoint_dir: _, resume_from_checkpoint: __, dataset_path: ___, ...own } = config;
  const set = (values) =>
    Object.fromEntries(
      Object.entries(values)
        .filter(([, value]) => value !== null)
        .map(([name, value]) => [name, isMapping(value) ? set(value) : value]),
    );
  return set(own);
}

const isMapping = (value) => typeof value === "object" && !Array.isArray(value);

// Problems beside the input that they are of.
function placed(problems) {
  const ofData = ({ field }) => DATA_FIELDS.includes(field);
  return { data: problems.filter(ofData), config: problems.filter((problem) => !ofData(problem)) };
}

function verdict({ valid, errors, warnings, num_parameters: parameters, memory_estimate: memory }) {
  if (!valid) {
    const { config } = placed(errors);
    return config.length ? `${many(config.length, "problem")}:` : "The data cannot be used, as is said beside it.";
  }
  const size = `${count(parameters)} parameters, about ${bytes(memory.total_bytes)} of memory to train.`;
  return [size, ...warnings.map((warning) => `Warning: ${warning.message}`)].join("\n");
}

// Where the text names the field: { number, start, end }, or null. Fields are dotted paths.
function lineOf(text, field) {
  const key = field.split(".").at(-1);
  let start = 0;
  for (const [place, line] of text.split("\n").entries()) {
    const end = start + line.length;
    if (key && line.replace(/^[\s"'{,]+/, "").replace(/["']?\s*:.*$/, "") === key) return { number: place + 1, start, end };
    start = end + 1;
  }
  return null;
}
