// Endless results: the next page is fetched when the end of the last one comes near.
import { complain } from "./answers.js";
import { question, state } from "./controls.js";

let busy = false;
const observer = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && more(),
  { rootMargin: "600px" },
);

export function watchMore() {
  addEventListener("shown", watch);
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

/** After a reload or the way back: as many pages as there were, so that one is where one was. */
async function catchUp() {
  const pages = history.state?.pages ?? 1;
  for (let page = 2; page <= pages && (await more()); page++);
}

/** Appends the next page; true if there was one. */
async function more() {
  const end = document.getElementById("more");
  const button = document.getElementById("next");
  if (busy || !button) return false;
  busy = true;
  try {
    const { method, url = "/", body } = question(button.form, state(button.form, button));
    const response = await fetch(url, { method, body, headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!end.isConnected) return false; // another answer has come meanwhile
    document.getElementById("results").append(...page.getElementById("results").children);
    end.replaceWith(page.getElementById("more"));
    history.replaceState({ ...history.state, pages: Number(button.value) }, "");
    return true;
  } catch {
    observer.disconnect();
    complain("The server cannot be reached. More tries again.");
    return false;
  } finally {
    busy = false;
    if (document.getElementById("more") !== end) watch();
  }
}
