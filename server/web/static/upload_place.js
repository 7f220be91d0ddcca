// The page of an image that was opened from the results of an upload. These have no address, so that the
// server cannot lead back: the links are made of the results that this tab has kept.
import { showUpload, storedUpload } from "./results.js";
import { ROOT } from "./server.js";

export function watchUploadPlace() {
  const nav = document.querySelector(".around");
  const [, upload] = location.hash.match(/^#upload-(\d+)$/) ?? [];
  const results = nav && upload && storedUpload(upload);
  if (!results) return;
  const cards = [...results.querySelectorAll("#results .card")];
  const at = cards.findIndex((card) => [...card.querySelectorAll("a")].some(leadsHere));
  const back = nav.querySelector("a");
  back.textContent = "Back to the results";
  back.href = ROOT;
  back.addEventListener("click", (event) => {
    event.preventDefault();
    showUpload(upload, cards[at]?.id);
  });
  if (at < 0) return;
  for (const [card, rel, text] of [[cards[at - 1], "prev", "‹ Previous"], [cards[at + 1], "next", "Next ›"]]) {
    if (!card) continue;
    const link = Object.assign(document.createElement("a"), { className: "button quiet", rel, textContent: text });
    link.href = card.querySelector(".picture").getAttribute("href");
    link.hash = `upload-${upload}`;
    nav.append(link);
  }
}

const leadsHere = (link) => new URL(link.getAttribute("href"), location.href).pathname === location.pathname;
