// Asks before what cannot be undone, or for the one number that an action needs.

import { el } from "./dom.js";

// Called before a page is left: closes its question, as nothing behind that can take the focus.
export function dismiss() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

// `text`: a text, or one for each line. Without `action` there is nothing to agree to.
// Resolves to null where the answer is no or the page is left, else to the field’s number, or true
// without a field.
export function ask({ title, text, action, danger = false, field = null }) {
  return new Promise((resolve) => {
    const input = field && el("input", { type: "number", required: true, min: field.min, value: field.value });
    const submit = (event) => {
      event.preventDefault();
      dialog.close("yes");
    };
    const dialog = el(
      "dialog",
      { "aria-labelledby": "question" },
      el(
        "form",
        { onsubmit: submit },
        el("h2", { id: "question" }, title),
        [text].flat().map((line) => el("p", {}, line)),
        input && el("label", {}, field.label, input),
        el(
          "div",
          { class: "row end" },
          el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
          action && el("button", { type: "submit", class: danger ? "danger" : "primary" }, action),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue !== "yes") resolve(null);
      else resolve(input ? input.valueAsNumber : true);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
