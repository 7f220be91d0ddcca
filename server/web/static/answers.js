// Shows an answer in place of the page's content, and keeps what Back and Forward need.
//
// Answers with an address are fetched again by it. The answer to an upload has none, for the server
// keeps nothing: its page is kept in this tab's session storage, until the tab is closed.
import { ROOT, send } from "./server.js";

const main = document.getElementById("main");
const KEPT = 8; // answers to uploads
let current = null; // the number of the upload's answer that is shown, if it is one

/** Sends a question, shows the answer and makes it a new place in the history. */
export async function ask(request, { focus } = {}) {
  const answer = await send(request);
  if (!answer) return;
  leave();
  if (request.method === "GET") {
    current = null;
    history.pushState({}, "", answer.url);
  } else {
    current = Number(sessionStorage.getItem("answers") ?? 0) + 1;
    sessionStorage.setItem("answers", current);
    sessionStorage.removeItem(`answer-${current - KEPT}`);
    history.pushState({ answer: current }, "", ROOT);
  }
  show(answer.html);
  const target = focus && document.getElementById(focus);
  (target || main).focus({ preventScroll: true });
  if (!target) scrollTo(0, 0);
}

/** After a reload or the way back from another page: shows the upload's answer again.
 *
 * A link to the address one is at keeps the state of the history, and yet leads to the start page. */
export function restoreOnLoad() {
  const [arrival] = performance.getEntriesByType("navigation");
  if (arrival?.type !== "navigate") return restoreAnswer();
  history.replaceState({}, "");
  return false;
}

function restoreAnswer() {
  const kept = history.state?.answer && sessionStorage.getItem(`answer-${history.state.answer}`);
  if (!kept) return false;
  current = history.state.answer;
  show(kept, { again: true });
  return true;
}

export function watchHistory() {
  addEventListener("pagehide", leave);
  addEventListener("popstate", async () => {
    keepCurrent();
    current = null;
    if (restoreAnswer()) return;
    const answer = await send({ method: "GET", url: location.href });
    if (answer) show(answer.html, { again: true });
  });
  addEventListener("click", (event) => {
    const link = event.target.closest?.(`a[href^="${ROOT}?"]`);
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    ask({ method: "GET", url: link.href });
  });
}

/** Notes what the way back needs: how far down one was, and the answer to an upload. */
function leave() {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  keepCurrent();
}

/** again: it has been here before, and one may have been further down. */
function show(html, { again = false } = {}) {
  const page = new DOMParser().parseFromString(html, "text/html");
  document.title = page.title;
  main.replaceChildren(...page.getElementById("main").childNodes);
  dispatchEvent(new CustomEvent("shown", { detail: { again } }));
}

function keepCurrent() {
  if (current === null) return;
  const page = `<title>${document.title.replace(/[<&]/g, "")}</title><main id="main">${main.innerHTML}</main>`;
  try {
    sessionStorage.setItem(`answer-${current}`, page);
  } catch {
    sessionStorage.removeItem(`answer-${current}`); // no room: Back leads to the start page
  }
}
