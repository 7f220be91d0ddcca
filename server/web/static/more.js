// Endless results: the next page is loaded when the user scrolls near the end of the last one.
import { formState, stateRequest } from "./controls.js";
import { ROOT, parsePage, problem, showError } from "./server.js";

let loading = {}; // the end of the results that is being extended, and the promise of it
const observer = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && loadMore(),
  { rootMargin: "600px" },
);

export function watchMore() {
  addEventListener("shown", ({ detail }) => {
    observe();
    if (detail.restored) restorePages();
  });
  addEventListener("click", (event) => {
    if (!event.target.closest?.("#next")) return;
    event.preventDefault();
    loadMore();
  });
  observe();
  restorePages();
}

function observe() {
  observer.disconnect();
  const end = document.getElementById("more");
  if (document.getElementById("next")) observer.observe(end);
}

/** After a reload or Back: loads as many pages as there were and scrolls to where the user was. */
async function restorePages() {
  const { pages = 1, scroll = 0 } = history.state ?? {};
  while (document.getElementById("next")?.value <= pages && (await loadMore()));
  if (scroll) scrollTo(0, scroll);
}

/** Appends the next page, one at a time; resolves to true if there was one. */
function loadMore() {
  const end = document.getElementById("more");
  if (loading.end !== end) loading = { end, done: append(end) };
  return loading.done;
}

async function append(end) {
  const startUrl = location.href;
  const button = document.getElementById("next");
  if (!button) return false;
  try {
    const fields = formState(button.form, button);
    fields.delete("add_filter"); // what is being typed
    const { method, url = ROOT, body } = stateRequest(button.form, fields);
    const response = await fetch(url, { method, body, headers: { Accept: "text/html" } });
    const text = await response.text();
    const page = parsePage(text);
    if (!end.isConnected || location.href !== startUrl) return false; // another search was made
    if (!page?.getElementById("more")) return stop(problem(response.status, text));
    document.getElementById("results").append(...page.getElementById("results").children);
    end.replaceWith(page.getElementById("more"));
    history.replaceState({ ...history.state, pages: Number(button.value) }, "");
    observe();
    return true;
  } catch {
    return stop("The server cannot be reached.");
  }
}

/** Loads no more until More is pressed. */
function stop(reason) {
  observer.disconnect();
  loading = {}; // so that a click tries again
  showError(`${reason} Press More to try again.`);
  return false;
}
