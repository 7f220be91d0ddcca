// Keeps the notices of what takes long up to date: a build, an encoder that is being loaded.
import { parsePage } from "./server.js";

const SHORTEST_MS = 2000;
const LONGEST_MS = 30000;
let timer;
let interval = SHORTEST_MS; // longer while nothing changes: an encoder may never load

export function watchWaiting() {
  addEventListener("shown", wait);
  wait();
}

function wait() {
  clearTimeout(timer);
  if (document.querySelector("#waiting[data-poll]")) timer = setTimeout(update, interval);
}

/** Tells whether the server of a page has an index, of which the page's end says something. */
const hasIndex = (page) => Boolean(page.querySelector("body > footer"));

/** Shows the notices as they are now; once there is an index, the page with it. */
async function update() {
  const shown = document.getElementById("waiting");
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  const page = answer && parsePage(await answer.text());
  if (!shown?.isConnected) return; // another page is shown, which waits itself if there is a reason
  if (page && hasIndex(page) && !hasIndex(document)) return location.reload();
  const now = page?.getElementById("waiting");
  const isSame = !now || now.isEqualNode(shown);
  interval = isSame ? Math.min(1.5 * interval, LONGEST_MS) : SHORTEST_MS;
  if (now) shown.replaceWith(now);
  wait();
}
