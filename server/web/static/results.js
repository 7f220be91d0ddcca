// Shows results in place of the page's content, and makes Back and Forward work.
//
// Results with a URL are fetched again. Upload results have no URL, because the server does not store
// uploads: their page is kept in this tab's session storage until the tab is closed.
import { ROOT, parsePage, send } from "./server.js";

const main = document.getElementById("main");
const MAX_STORED = 8; // pages of upload results
let currentUpload = null; // number of the upload results being shown, if they are shown
let lastVisit = null; // the last use of Back or Forward: what was asked for before it comes too late

/** Sends a search, shows its results and adds them to the history. */
export async function search(request, { focus } = {}) {
  const visit = lastVisit;
  const response = await send(request);
  if (!response || visit !== lastVisit) return;
  saveState();
  if (request.method === "GET") {
    currentUpload = null;
    const place = new URL(request.url, location).hash; // which is not sent
    history.pushState({}, "", response.url + place);
  } else {
    currentUpload = Number(sessionStorage.getItem("uploads") ?? 0) + 1;
    sessionStorage.setItem("uploads", currentUpload);
    sessionStorage.removeItem(`upload-${currentUpload - MAX_STORED}`);
    history.pushState({ upload: currentUpload }, "", ROOT);
  }
  show(response.page);
  const target = focus && document.getElementById(focus);
  (target || main).focus({ preventScroll: true });
  const result = location.hash && document.getElementById(location.hash.slice(1));
  if (result) result.scrollIntoView({ block: "center" });
  else if (!target) scrollTo(0, 0);
}

/**
 * Shows upload results again after a reload, or after Back from another page.
 *
 * A link to the current URL keeps the history's state, but it must show the start page.
 */
export function restoreOnLoad() {
  const [navigation] = performance.getEntriesByType("navigation");
  if (navigation?.type === "navigate") history.replaceState({}, "");
  else restoreUpload();
}

/** Returns the page of the results of an upload, or null if this tab has not kept it. */
export function storedUpload(upload) {
  const page = sessionStorage.getItem(`upload-${upload}`);
  return page && parsePage(page);
}

/** Shows the results of an upload again, and the result with an id. */
export function showUpload(upload, id) {
  history.pushState({ upload: Number(upload) }, "", ROOT);
  restoreUpload();
  document.getElementById(id)?.scrollIntoView({ block: "center" });
}

function restoreUpload() {
  const upload = history.state?.upload;
  const page = upload && storedUpload(upload);
  if (!page) return false;
  currentUpload = upload;
  show(page, { restored: true });
  return true;
}

export function watchHistory() {
  addEventListener("pagehide", saveState);
  addEventListener("popstate", async ({ state }) => {
    if (state === null) {
      // A link to a place on this page, such as "Skip to the content": it has the page's state.
      return history.replaceState(currentUpload ? { upload: currentUpload } : {}, "");
    }
    storeUpload();
    currentUpload = null;
    const visit = (lastVisit = {});
    if (restoreUpload()) return;
    if (location.pathname !== ROOT) return location.reload(); // a page that may have scripts of its own
    const response = await send({ method: "GET", url: location.href });
    if (response && visit === lastVisit) show(response.page, { restored: true });
  });
  addEventListener("click", ({ target }) => {
    const image = target.closest?.("#results :is(.picture, .copy a)");
    if (image && currentUpload) image.hash = `upload-${currentUpload}`; // see upload_place.js
  });
  addEventListener("click", (event) => {
    const link = event.target.closest?.(`a[href^="${ROOT}?"]`);
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    search({ method: "GET", url: new URL(link.getAttribute("href"), location.href).href }); // a box is an SVG link
  });
}

/** Saves what Back needs: the scroll position and upload results. */
function saveState() {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  storeUpload();
}

/** Shows a page; restored: it was shown before, and its scroll position is in the history. */
function show(page, { restored = false } = {}) {
  document.title = page.title;
  main.replaceChildren(...page.getElementById("main").childNodes);
  dispatchEvent(new CustomEvent("shown", { detail: { restored } }));
}

function storeUpload() {
  if (currentUpload === null) return;
  const page = `<title>${document.title.replace(/[<&]/g, "")}</title><main id="main">${main.innerHTML}</main>`;
  try {
    sessionStorage.setItem(`upload-${currentUpload}`, page);
  } catch {
    sessionStorage.removeItem(`upload-${currentUpload}`); // storage is full: Back shows the start page
  }
}
