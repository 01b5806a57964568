// Stops, resumes or deletes the chosen jobs, after one question that says what becomes of each; or
// compares them.

import { at, post, remove } from "./api.js";
import { comparisonOf, MOST_RUNS } from "./compare_state.js";
import { ask } from "./dialog.js";
import { el, fill, setText } from "./dom.js";
import { count, many } from "./format.js";

const AT_ONCE = 4;
const STAYS = "active and left as it is";
const ENDED = "ended and left as it is";
// Per action: how it is called, the states that it is for, and what becomes of a job in each state.
const ACTIONS = [
  {
    name: "Stop",
    done: "asked to stop",
    call: (id) => post(at("jobs", id, "stop")),
    fits: ["queued", "running"],
    fate: {
      queued: "waiting: stops at once",
      running: "running: saves a checkpoint and stops; Resume takes it back",
      stopping: "stopping already",
    },
    otherwise: ENDED,
  },
  {
    name: "Resume",
    done: "resumed",
    call: (id) => post(at("jobs", id, "resume"), {}),
    fits: ["stopped", "failed"],
    fate: {
      stopped: "stopped: continues from its newest checkpoint",
      failed: "failed: continues from its newest checkpoint",
      succeeded: "at its last step and left as it is; its own page trains it longer",
    },
    otherwise: STAYS,
  },
  {
    name: "Delete",
    done: "deleted",
    danger: true,
    call: (id) => remove(at("jobs", id)),
    fits: ["queued", "stopped", "succeeded", "failed"],
    fate: {
      running: "running and left as it is; stop it first",
      stopping: "stopping and left as it is",
    },
    otherwise: "deleted with its history, log and checkpoints; this cannot be undone",
  },
];

export class BulkActions {
  // `onChange` is called when jobs are chosen, and when some were changed.
  constructor(onChange) {
    this.onChange = onChange;
    this.chosen = new Map();
    this.text = el("span", { role: "status" });
    this.buttons = ACTIONS.map((action) =>
      el("button", { type: "button", class: action.danger && "danger", onclick: () => this.#act(action) }, action.name),
    );
    this.compare = el("button", { type: "button", onclick: () => (location.hash = comparisonOf(this.#ids())) }, "Compare");
    this.none = el("button", { type: "button", class: "plain", onclick: () => this.clear() }, "Choose none");
    this.failures = el("ul", { class: "problems", role: "alert" });
    this.bar = el("div", { class: "row" }, this.text, this.compare, this.buttons, this.none);
    this.element = el("section", { class: "card", "aria-label": "Chosen jobs", hidden: true }, this.bar, this.failures);
  }

  has(id) {
    return this.chosen.has(id);
  }

  choose(jobs, wanted) {
    for (const job of jobs) {
      if (wanted) this.chosen.set(job.job_id, job);
      else this.chosen.delete(job.job_id);
    }
    this.said = "";
    fill(this.failures);
    this.#show();
  }

  clear() {
    this.choose([...this.chosen.values()], false);
  }

  // As they are now: a question should not speak of states of long ago.
  know(jobs) {
    for (const job of jobs) if (this.chosen.has(job.job_id)) this.chosen.set(job.job_id, job);
  }

  #show() {
    const size = this.chosen.size;
    this.element.hidden = !size && !this.said;
    setText(this.text, [size && `${many(size, "job")} chosen.`, this.said].filter(Boolean).join(" "));
    for (const button of [...this.buttons, this.none]) button.disabled = !size || Boolean(this.busy);
    this.compare.disabled = !size || size > MOST_RUNS;
    this.compare.title = size > MOST_RUNS ? `A comparison has at most ${MOST_RUNS} runs.` : "";
    this.onChange();
  }

  // In the order of the list, newest first.
  #ids() {
    return [...this.chosen.keys()].sort().reverse();
  }

  async #act(action) {
    const jobs = [...this.chosen.values()];
    const meant = jobs.filter((job) => action.fits.includes(job.status));
    const sure = await ask({
      title: `${action.name} ${many(meant.length, "job")}?`,
      text: fates(action, jobs),
      action: meant.length ? `${action.name} ${count(meant.length)}` : null,
      danger: action.danger,
    });
    if (sure) await this.#each(action, meant);
  }

  // Goes on where the page is left meanwhile: what was confirmed is done.
  async #each(action, jobs) {
    const failed = [];
    const waiting = [...jobs];
    let done = 0;
    this.busy = true;
    fill(this.failures);
    const work = async () => {
      for (let job = waiting.shift(); job; job = waiting.shift()) {
        this.said = `${count(done)} of ${count(jobs.length)} ${action.done}…`;
        this.#show();
        try {
          await action.call(job.job_id);
          done += 1;
          this.chosen.delete(job.job_id);
        } catch (error) {
          failed.push([job, error]);
          if (error.status === 404) this.chosen.delete(job.job_id);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    this.busy = false;
    this.said = `${many(done, "job")} ${action.done}${failed.length ? `, ${count(failed.length)} not:` : "."}`;
    fill(this.failures, failed.map(([job, error]) => el("li", {}, jobLink(job), `: ${error.message}`)));
    this.#show();
  }
}

export function jobLink(job) {
  return el("a", { href: `#/jobs/${encodeURIComponent(job.job_id)}` }, job.name || job.job_id);
}

// One line for all jobs with the same fate: "3 running: saves a checkpoint and stops".
function fates(action, jobs) {
  const groups = new Map();
  for (const job of jobs) {
    const fate = action.fate[job.status] ?? action.otherwise;
    groups.set(fate, (groups.get(fate) ?? 0) + 1);
  }
  return [...groups].map(([fate, size]) => `${count(size)} ${fate}`);
}
