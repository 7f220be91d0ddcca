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

/** Returns how similar images at a distance are, as the server does. */
const percent = (distance) => Math.round(Math.max(0, 100 * (1 - distance ** 2 / 2)));

/** Returns how near a distance is, of all pairs of images, in the words of the server. */
function nearness(slider) {
  const farther = slider.dataset.farther.split(" ").map(Number);
  const place = (slider.value / 2) * (farther.length - 1);
  const [from, to] = [Math.floor(place), Math.ceil(place)].map((n) => farther[n]);
  const percent = from + (to - from) * (place % 1);
  if (percent < 1) return "farther than nearly all pairs";
  return `nearer than ${percent > 99.99 ? "over 99.99" : percent.toFixed(percent < 99 ? 0 : 2)} % of all pairs`;
}

/** Narrows the slider to the distances that there are. */
function narrow() {
  const slider = document.getElementById("threshold");
  if (!slider) return;
  const { least, most } = slider.dataset;
  const value = slider.value === slider.max ? most : slider.value;
  Object.assign(slider, { min: least, max: most, value });
  const histogram = slider.parentElement.querySelector("svg");
  histogram.setAttribute("viewBox", histogram.dataset.view);
  showValue(slider);
}

function showValue(slider) {
  const [similar, near] = slider.form.querySelectorAll("output");
  similar.value = `${percent(slider.value)} % and more`;
  near.value = slider.value === slider.max ? "" : nearness(slider);
}

/** Opens the filters where they have a place beside the results. */
function openFilters() {
  const filters = document.querySelector(".side .facets");
  if (filters && matchMedia("(min-width: 801px)").matches) filters.open = true;
}

export function watchControls() {
  addEventListener("shown", narrow);
  addEventListener("shown", openFilters);
  narrow();
  openFilters();
  addEventListener("input", ({ target }) => {
    if (target.id !== "threshold") return;
    showValue(target);
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
    if (event.submitter?.id !== "next") submit(event.target, event.submitter, isTyped && "add-filter");
  });
}

function submit(form, submitter, focus) {
  search(stateRequest(form, formState(form, submitter)), { focus });
}
