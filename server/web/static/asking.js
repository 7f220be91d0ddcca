// Takes an image wherever it comes from: chosen, photographed, dropped anywhere, or pasted.
// It is sent as it is: resizing it here would change the result.
import { ask } from "./answers.js";
import { complain } from "./server.js";

const form = document.getElementById("ask");
let asked = null; // the file of the last upload, for regions of it

/** Searches with a file; crop is a region "x,y,width,height" of it in fractions. */
export async function searchWith(file, crop = "") {
  const limit = Number(form.dataset.maxBytes);
  if (file.size > limit) {
    return complain(`${file.name} has ${megabytes(file.size)}; the limit is ${megabytes(limit)}. Choose a smaller image.`);
  }
  if (file.size === 0) return complain(`${file.name} is empty.`);
  const body = new FormData();
  body.append("image", file);
  if (crop) body.append("crop", crop);
  asked = file;
  await ask({ method: "POST", body });
}

/** The file that the answer on the page is about, if it is still here. */
export const askedFile = () => asked;

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
  let ours = false; // a picture of this page that is dragged around is no file to search with
  addEventListener("dragstart", () => (ours = true));
  addEventListener("dragend", () => (ours = false));
  addEventListener("dragover", (event) => {
    if (ours) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (ours) return;
    event.preventDefault();
    const file = firstFile(event.dataTransfer);
    if (file) searchWith(file);
    else complain("That is no file. Save the image first, then drop it here.");
  });
}

const firstFile = (transfer) =>
  [...transfer.files].find((file) => file.type.startsWith("image/")) ?? transfer.files[0];

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
