// Searches with an image that is chosen, photographed, dropped anywhere, or pasted.
// The file is sent unchanged: resizing it here would change the results.
import { search } from "./results.js";
import { showError } from "./server.js";

const form = document.getElementById("ask");
let lastUpload = null; // the file that was uploaded last, to search regions of it

/** Searches with a file, or with a region of it: "x,y,width,height" in fractions. */
export async function searchWith(file, crop = "") {
  const limit = Number(form.dataset.maxBytes);
  if (file.size > limit) {
    return showError(`${file.name} has ${megabytes(file.size)}; the limit is ${megabytes(limit)}. Choose a smaller image.`);
  }
  if (file.size === 0) return showError(`${file.name} is empty.`);
  const body = new FormData();
  body.append("image", file);
  if (crop) body.append("crop", crop);
  for (const clause of filters()) body.append("filter", clause);
  lastUpload = file;
  await search({ method: "POST", body });
}

/** Returns the clauses of the page's filter. */
export const filters = () => [...document.querySelectorAll("[data-filter]")].map(({ dataset }) => dataset.filter);

/** Returns the file that was uploaded last, or null after a reload. */
export const uploadedFile = () => lastUpload;

export function watchFiles() {
  if (!form) return;
  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      if (input.files.length) searchWith(input.files[0]);
      input.value = ""; // the same file can be chosen again
    });
  }
  watchDrops();
  addEventListener("paste", (event) => {
    const file = firstFile(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    searchWith(file);
  });
}

function watchDrops() {
  let isOwnImage = false; // an image of this page is being dragged: nothing to upload
  addEventListener("dragstart", () => (isOwnImage = true));
  addEventListener("dragend", () => (isOwnImage = false));
  addEventListener("dragover", (event) => {
    if (isOwnImage) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (isOwnImage) return;
    event.preventDefault();
    const file = firstFile(event.dataTransfer);
    if (file) searchWith(file);
    else showError("That is not a file. Save the image first, then drop it here.");
  });
}

const firstFile = (transfer) =>
  [...transfer.files].find((file) => file.type.startsWith("image/")) ?? transfer.files[0];

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
