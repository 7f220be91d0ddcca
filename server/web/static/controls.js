// The form that holds the state: its controls answer at once, without the Apply button.
import { ask } from "./answers.js";
import { ROOT } from "./server.js";

const SETTLE_MS = 250; // between the last step of a slider and asking
let timer;

/** What the state form would send, with the button that was pressed. */
export function state(form, submitter) {
  const fields = new FormData(form, submitter);
  if (fields.get("threshold") === form.elements.threshold.max) fields.delete("threshold");
  return fields;
}

/** A question for the server: an address where there is one, else the form as it is. */
export function question(form, fields) {
  if (form.method === "post") return { method: "POST", body: fields };
  return { method: "GET", url: address(fields) };
}

/** The address of a state, written as the server writes it. */
export const address = (fields) => `${ROOT}?${new URLSearchParams(fields)}`.replaceAll("%2C", ",");

export function watchControls() {
  addEventListener("input", ({ target }) => {
    if (target.id !== "threshold") return;
    target.form.querySelector("output").value = Number(target.value).toFixed(2);
    for (const card of document.querySelectorAll("#results .card")) {
      card.hidden = Number(card.dataset.distance) > Number(target.value);
    }
  });
  addEventListener("change", ({ target }) => {
    if (target.form?.id !== "state") return;
    clearTimeout(timer);
    timer = setTimeout(() => target.form.isConnected && submit(target.form, null, target.id), SETTLE_MS);
  });
  addEventListener("submit", (event) => {
    const exported = event.submitter?.hasAttribute("formaction");
    if (event.target.id !== "state" || exported) return;
    event.preventDefault();
    if (event.submitter?.name !== "page") submit(event.target, event.submitter);
  });
}

function submit(form, submitter, focus) {
  ask(question(form, state(form, submitter)), { focus });
}
