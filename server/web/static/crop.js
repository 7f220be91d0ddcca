// The dialog to search with a region of an image: drawn, moved and resized by mouse, touch or keys.
// A region is { x, y, width, height } in fractions of the upright image, as in the API.
import { search } from "./results.js";
import { searchWith, uploadedFile } from "./upload.js";
import { formState, stateUrl } from "./controls.js";

const MIN_SIDE = 0.04;
const KEY_STEP = 0.02;
const INITIAL_REGION = { x: 0.2, y: 0.2, width: 0.6, height: 0.6 };

const dialog = document.getElementById("cropper");
let region = INITIAL_REGION;
let file = null; // the uploaded file; null for an image of the collection

export function watchCropping() {
  if (!dialog) return;
  const image = dialog.querySelector("img");
  addEventListener("shown", showButton);
  addEventListener("click", ({ target }) => {
    if (target.id !== "crop") return;
    const [x, y, width, height] = target.dataset.crop.split(",").map(Number);
    file = "upload" in target.dataset ? uploadedFile() : null;
    image.src = file ? URL.createObjectURL(file) : target.dataset.source;
    setRegion(height ? { x, y, width, height } : INITIAL_REGION);
    dialog.showModal();
    box().focus();
  });
  dialog.addEventListener("close", () => {
    if (file) URL.revokeObjectURL(image.src);
    if (dialog.returnValue === "search") searchRegion();
    dialog.returnValue = "";
  });
  dialog.addEventListener("input", ({ target }) => {
    if (target.valueAsNumber >= 0) setRegion({ ...region, [target.name]: target.valueAsNumber / 100 });
  });
  watchPointer(dialog.querySelector(".stage"));
  box().addEventListener("keydown", onKey);
}

const box = () => dialog.querySelector(".box");

/** Shows the button for regions of an upload if this page still has the file. */
function showButton() {
  const button = document.querySelector("#crop[data-upload]");
  if (button && uploadedFile()) button.hidden = false;
}

function searchRegion() {
  const crop = [region.x, region.y, region.width, region.height].map((part) => part.toFixed(4)).join(",");
  if (file) return searchWith(file, crop);
  const fields = formState(document.getElementById("state"));
  fields.set("crop", crop);
  search({ method: "GET", url: stateUrl(fields) });
}

/** Sets the region, moved and resized to lie inside the image, and shows it. */
function setRegion(proposed) {
  const width = clamp(proposed.width, MIN_SIDE, 1);
  const height = clamp(proposed.height, MIN_SIDE, 1);
  region = { x: clamp(proposed.x, 0, 1 - width), y: clamp(proposed.y, 0, 1 - height), width, height };
  const percent = (part) => `${100 * part}%`;
  Object.assign(box().style, {
    left: percent(region.x), top: percent(region.y), width: percent(width), height: percent(height),
  });
  for (const input of dialog.querySelectorAll("input")) {
    if (input !== document.activeElement) input.value = Math.round(100 * region[input.name]);
  }
}

function onKey(event) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === "Enter") dialog.close("search");
  else if (dx || dy) {
    const delta = { x: KEY_STEP * dx, y: KEY_STEP * dy };
    if (event.shiftKey) setRegion({ ...region, width: region.width + delta.x, height: region.height + delta.y });
    else setRegion({ ...region, x: region.x + delta.x, y: region.y + delta.y });
  } else return;
  event.preventDefault();
}

/** Resizes the box by a dragged corner, moves it, or draws a new one, by where the pointer went down. */
function watchPointer(stage) {
  stage.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    box().focus();
    stage.setPointerCapture(event.pointerId);
    const start = pointIn(stage, event);
    const corner = event.target.dataset?.corner;
    const movedRegion = event.target === box() ? region : null;
    const anchor = corner ? opposite(corner) : start;
    const onMove = (move) => {
      const point = pointIn(stage, move);
      if (movedRegion) setRegion({ ...movedRegion, x: movedRegion.x + point.x - start.x, y: movedRegion.y + point.y - start.y });
      else setRegion(between(anchor, point));
    };
    stage.addEventListener("pointermove", onMove);
    const stop = () => stage.removeEventListener("pointermove", onMove);
    stage.addEventListener("pointerup", stop, { once: true });
    stage.addEventListener("pointercancel", stop, { once: true });
  });
}

/** Returns where a pointer event is, in fractions of the stage. */
function pointIn(stage, event) {
  const edges = stage.getBoundingClientRect();
  return {
    x: clamp((event.clientX - edges.left) / edges.width, 0, 1),
    y: clamp((event.clientY - edges.top) / edges.height, 0, 1),
  };
}

const opposite = (corner) => ({
  x: corner.includes("w") ? region.x + region.width : region.x,
  y: corner.includes("n") ? region.y + region.height : region.y,
});

const between = (a, b) => ({
  x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y),
});

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
