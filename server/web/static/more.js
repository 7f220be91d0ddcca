// Endless results: the next page is fetched when the end of the last one comes near.
import { question, state } from "./controls.js";
import { ROOT, complain } from "./server.js";

let running = {}; // the end of the results that the next page is on its way to
const observer = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && more(),
  { rootMargin: "600px" },
);

export function watchMore() {
  addEventListener("shown", ({ detail }) => {
    watch();
    if (detail.again) catchUp();
  });
  addEventListener("click", (event) => {
    if (!event.target.closest?.("#next")) return;
    event.preventDefault();
    more();
  });
  watch();
  catchUp();
}

function watch() {
  observer.disconnect();
  const end = document.getElementById("more");
  if (document.getElementById("next")) observer.observe(end);
}

/** After a reload or the way back: as many pages as there were, and where one was on them. */
async function catchUp() {
  const { pages = 1, scroll = 0 } = history.state ?? {};
  while (document.getElementById("next")?.value <= pages && (await more()));
  if (scroll) scrollTo(0, scroll);
}

/** Appends the next page, one at a time; true if there was one. */
function more() {
  const end = document.getElementById("more");
  if (running.end !== end) running = { end, done: append(end) };
  return running.done;
}

async function append(end) {
  const place = location.href;
  const button = document.getElementById("next");
  if (!button) return false;
  try {
    const { method, url = ROOT, body } = question(button.form, state(button.form, button));
    const response = await fetch(url, { method, body, headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!end.isConnected || location.href !== place) return false; // another question was asked
    document.getElementById("results").append(...page.getElementById("results").children);
    end.replaceWith(page.getElementById("more"));
    history.replaceState({ ...history.state, pages: Number(button.value) }, "");
    watch();
    return true;
  } catch {
    observer.disconnect();
    running = {}; // a click tries again
    complain("The server cannot be reached. More tries again.");
    return false;
  }
}
