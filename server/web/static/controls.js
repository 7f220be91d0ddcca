// The form with the page's state: its controls take effect at once, without the Apply button.
import { search } from "./results.js";
import { ROOT } from "./server.js";

const DEBOUNCE_MS = 250; // between the last change of a control and the search
let timer;

/** Returns the fields that the state form would send, with the button that was pressed. */
export function formState(form, submitter) {
  const fields = new FormData(form, submitter);
  if (fields.get("threshold") === form.elements.threshold.max) fields.delete("threshold");
  if (!fields.get("add_filter")) fields.delete("add_filter");
  return fields;
}

/** Returns the request for a state: the form's fields after an upload, else a URL. */
export function stateRequest(form, fields) {
  if (form.method === "post") return { method: "POST", body: fields };
  return { method: "GET", url: stateUrl(fields) };
}

/** Returns the URL of a state, formatted as the server does. */
export const stateUrl = (fields) => `${ROOT}?${new URLSearchParams(fields)}`.replaceAll("%2C", ",").replaceAll("%3D", "=");

export function watchControls() {
  addEventListener("input", ({ target }) => {
    if (target.id !== "threshold") return;
    target.form.querySelector("output").value = Number(target.value).toFixed(2);
    for (const card of document.querySelectorAll("#results .card")) {
      card.hidden = Number(card.dataset.distance) > Number(target.value);
    }
  });
  addEventListener("change", ({ target }) => {
    if (target.form?.id !== "state" || target.id === "add-filter") return;
    clearTimeout(timer);
    timer = setTimeout(() => target.form.isConnected && submit(target.form, null, target.id), DEBOUNCE_MS);
  });
  addEventListener("submit", (event) => {
    const isExport = event.submitter?.hasAttribute("formaction");
    if (event.target.id !== "state" || isExport) return;
    event.preventDefault();
    clearTimeout(timer);
    const isTyped = document.activeElement.id === "add-filter";
    if (event.submitter?.name !== "page") submit(event.target, event.submitter, isTyped && "add-filter");
  });
}

function submit(form, submitter, focus) {
  search(stateRequest(form, formState(form, submitter)), { focus });
}
