// Sends requests, shows their progress and errors. With XMLHttpRequest: fetch has no upload progress.

/** URL path of the start page: "/", or the prefix that a proxy adds. */
export const ROOT = new URL("..", import.meta.url).pathname;

const panel = document.getElementById("progress");
const bar = panel.querySelector("progress");
const status = panel.querySelector("[role=status]");
const PROGRESS_DELAY_MS = 150; // for faster answers the progress bar would only flicker
let pending = null;

/**
 * Sends { method, url, body } and resolves to { page, url }. Pages with an error status are pages, too.
 * Resolves to null if a later request replaced this one, or if there was no page: then it shows an error.
 */
export function send({ method, url = ROOT, body = null }) {
  pending?.abort();
  const request = (pending = new XMLHttpRequest());
  const timer = setTimeout(() => (panel.hidden = false), PROGRESS_DELAY_MS);
  showProgress("Searching…", null);
  return new Promise((resolve) => {
    const finish = (value) => {
      clearTimeout(timer);
      if (pending === request) {
        pending = null;
        panel.hidden = true;
      }
      resolve(value);
    };
    if (body) {
      request.upload.addEventListener("progress", (event) => {
        const share = event.loaded / event.total;
        if (share < 1) showProgress(`Uploading ${Math.round(100 * share)} %`, share);
        else showProgress("Searching…", null);
      });
    }
    request.addEventListener("load", () => {
      const page = parsePage(request.responseText);
      if (page) return finish({ page, url: request.responseURL });
      showError(problem(request.status, request.responseText));
      finish(null);
    });
    request.addEventListener("error", () => {
      showError("The server cannot be reached. Is it still running? Try again.");
      finish(null);
    });
    request.addEventListener("abort", () => finish(null));
    request.open(method, url);
    request.setRequestHeader("Accept", "text/html");
    request.send(body);
  });
}

/** Returns the document of a page of this site, or null: a proxy answers with pages of its own. */
export function parsePage(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  return page.getElementById("main") && page;
}

/** Says what was answered in place of a page: the API's error, the title of a proxy's page, or the status. */
export function problem(statusCode, text) {
  try {
    const { message, hint } = JSON.parse(text).error;
    return `${message} ${hint}`;
  } catch {} // it is no JSON
  const title = new DOMParser().parseFromString(text, "text/html").title.slice(0, 100);
  return `The server, or a proxy before it, answered with an error: ${title || statusCode}.`;
}

/** Shows an error above the page's content. */
export function showError(text) {
  document.getElementById("error")?.remove();
  const notice = document.createElement("div");
  notice.id = "error";
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  notice.textContent = text;
  document.getElementById("main").prepend(notice);
  notice.scrollIntoView({ block: "nearest" });
}

function showProgress(text, share) {
  status.textContent = text;
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}
