// Talks to the server, shows how far it is and what went wrong. XMLHttpRequest, because fetch knows no upload progress.

/** Where the server is: "/", or below a path of a proxy's. */
export const ROOT = new URL("..", import.meta.url).pathname;

const panel = document.getElementById("progress");
const bar = panel.querySelector("progress");
const status = panel.querySelector("[role=status]");
const PATIENCE_MS = 150; // quicker answers show no progress: it would only flicker
let running = null;

/**
 * Sends { method, url, body } and returns { html, url }, or null where a later question has taken its
 * place or there was no answer, which is then said. Refusals are pages and come back like answers.
 */
export function send({ method, url = ROOT, body = null }) {
  running?.abort();
  const request = (running = new XMLHttpRequest());
  const patience = setTimeout(() => (panel.hidden = false), PATIENCE_MS);
  progress("Searching…", null);
  return new Promise((resolve) => {
    const finish = (value) => {
      clearTimeout(patience);
      if (running === request) {
        running = null;
        panel.hidden = true;
      }
      resolve(value);
    };
    if (body) {
      request.upload.addEventListener("progress", (event) => {
        const share = event.loaded / event.total;
        if (share < 1) progress(`Uploading ${Math.round(100 * share)} %`, share);
        else progress("Looking at the image…", null);
      });
    }
    request.addEventListener("load", () => {
      if (request.getResponseHeader("Content-Type")?.startsWith("text/html")) {
        return finish({ html: request.responseText, url: request.responseURL });
      }
      complain(`The server answered with an error (${request.status}). Try again.`);
      finish(null);
    });
    request.addEventListener("error", () => {
      complain("The server cannot be reached. Is it still running? Your image was not searched; try again.");
      finish(null);
    });
    request.addEventListener("abort", () => finish(null));
    request.open(method, url);
    request.setRequestHeader("Accept", "text/html");
    request.send(body);
  });
}

/** Shows a message above the page's content: there is no answer that could replace it. */
export function complain(text) {
  document.getElementById("complaint")?.remove();
  const notice = document.createElement("div");
  notice.id = "complaint";
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  notice.textContent = text;
  document.getElementById("main").prepend(notice);
  notice.scrollIntoView({ block: "nearest" });
}

function progress(text, share) {
  status.textContent = text;
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}
