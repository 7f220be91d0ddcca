// The dialog to search with a region of an image: drawn, moved and resized by mouse, touch or keys.
// A region is { x, y, width, height } in fractions of the upright image, as in the API.
import { search } from "./results.js";
import { filters, searchWith, uploadedFile } from "./upload.js";
import { formState, stateUrl } from "./controls.js";
import { ROOT } from "./server.js";
import { watchDrawing } from "./crop_drawing.js";

const MIN_SIDE = 0.04;
const KEY_STEP = 0.02;
const FIRST_BY_KEYS = { x: 0.2, y: 0.2, width: 0.6, height: 0.6 };
const HINT = "Draw a box on the image. Its corners resize it, the grip in its middle moves it.";

const dialog = document.getElementById("cropper");
let region = null; // nothing is drawn yet
let file = null; // the uploaded file; null for an image of the collection
let opener; // the button that opened the dialog: which image it is, and where the search goes on

export function watchCropping() {
  if (!dialog) return;
  addEventListener("shown", showButton);
  addEventListener("click", ({ target }) => {
    const button = target.closest?.(".crop, #crop");
    if (button) open(button);
  });
  dialog.addEventListener("close", () => {
    release();
    if (dialog.returnValue === "search") searchRegion();
    dialog.returnValue = "";
  });
  dialog.addEventListener("input", readNumbers);
  dialog.querySelector(".stage").addEventListener("keydown", onKey);
  watchDrawing(dialog.querySelector(".stage"), () => region, setRegion);
}

function open(button) {
  opener = button;
  file = "upload" in button.dataset ? uploadedFile() : null;
  setRegion(null);
  const [x, y, width, height] = (button.dataset.crop ?? "").split(",").map(Number);
  if (height) setRegion({ x, y, width, height });
  say(HINT);
  dialog.showModal();
  dialog.querySelector(".stage").focus();
  if (file) showFile();
  else image().src = `${ROOT}api/v1/images/${button.value}/thumbnail?side=2048&whole=true`;
}

const image = () => dialog.querySelector("img");
const say = (text) => (dialog.querySelector("p").textContent = text);

/** Shows the uploaded file, or what the server makes of it if it is none that browsers show. */
async function showFile() {
  const shown = file;
  image().src = URL.createObjectURL(file);
  try {
    await image().decode();
  } catch {
    if (shown !== file || !dialog.open) return;
    release();
    const body = new FormData();
    body.append("image", file);
    const response = await fetch(`${ROOT}rendition`, { method: "POST", body }).catch(() => null);
    if (response?.ok) image().src = URL.createObjectURL(await response.blob());
    else say("This image cannot be shown at the moment. The numbers below still choose a region.");
  }
}

/** Shows nothing any more, and frees the file that was shown. */
function release() {
  if (image().src.startsWith("blob:")) URL.revokeObjectURL(image().src);
  image().removeAttribute("src");
}

/** Shows the button for regions of an upload if this page still has the file. */
function showButton() {
  const button = document.querySelector("#crop[data-upload]");
  if (button && uploadedFile()) button.hidden = false;
}

function searchRegion() {
  const crop = [region.x, region.y, region.width, region.height].map((part) => part.toFixed(4)).join(",");
  if (file) return searchWith(file, crop);
  const isQuery = opener.id === "crop";
  const fields = isQuery ? formState(document.getElementById("state")) : new FormData();
  if (!isQuery) {
    fields.append("image_id", opener.value);
    for (const clause of filters()) fields.append("filter", clause);
  }
  fields.set("crop", crop);
  search({ method: "GET", url: stateUrl(fields) });
}

/** Sets the region, moved and resized to lie inside the image, and shows it; null: there is none. */
function setRegion(proposed) {
  const stage = dialog.querySelector(".stage");
  stage.classList.toggle("drawn", Boolean(proposed));
  dialog.querySelector("[value=search]").disabled = !proposed;
  region = proposed && inside(proposed);
  for (const input of dialog.querySelectorAll("input")) {
    if (region) stage.style.setProperty(`--${input.name}`, `${100 * region[input.name]}%`);
    if (input !== document.activeElement) input.value = region ? Math.round(100 * region[input.name]) : "";
  }
}

function inside({ x, y, width, height }) {
  const [wide, high] = [clamp(width, MIN_SIDE, 1), clamp(height, MIN_SIDE, 1)];
  return { x: clamp(x, 0, 1 - wide), y: clamp(y, 0, 1 - high), width: wide, height: high };
}

/** Sets the region by the numbers that were typed: without a size it goes on to the edge. */
function readNumbers() {
  const number = (name, missing) => {
    const percent = dialog.querySelector(`[name=${name}]`).valueAsNumber;
    return percent >= 0 ? percent / 100 : missing;
  };
  const [x, y] = [number("x", 0), number("y", 0)];
  setRegion({ x, y, width: number("width", 1 - x), height: number("height", 1 - y) });
}

function onKey(event) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === "Enter" && region) dialog.close("search");
  else if ((dx || dy) && !region) setRegion(FIRST_BY_KEYS);
  else if (dx || dy) {
    const delta = { x: KEY_STEP * dx, y: KEY_STEP * dy };
    if (event.shiftKey) setRegion({ ...region, width: region.width + delta.x, height: region.height + delta.y });
    else setRegion({ ...region, x: region.x + delta.x, y: region.y + delta.y });
  } else return;
  event.preventDefault();
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
