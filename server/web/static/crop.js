// A region of the query to search with: drawn, moved and resized by mouse, finger or arrow keys.
// A region is { x, y, width, height } in fractions of the upright image, as the server takes it.
import { ask } from "./answers.js";
import { askedFile, searchWith } from "./asking.js";
import { address, state } from "./controls.js";

const SMALLEST = 0.04;
const STEP = 0.02;
const START = { x: 0.2, y: 0.2, width: 0.6, height: 0.6 };

const dialog = document.getElementById("cropper");
let region = START;
let file = null; // null: the image is one of the collection

export function watchCropping() {
  if (!dialog) return;
  const image = dialog.querySelector("img");
  addEventListener("shown", offer);
  addEventListener("click", ({ target }) => {
    if (target.id !== "crop") return;
    const [x, y, width, height] = target.dataset.crop.split(",").map(Number);
    file = "upload" in target.dataset ? askedFile() : null;
    image.src = file ? URL.createObjectURL(file) : target.dataset.source;
    place(height ? { x, y, width, height } : START);
    dialog.showModal();
    box().focus();
  });
  dialog.addEventListener("close", () => {
    if (file) URL.revokeObjectURL(image.src);
    if (dialog.returnValue === "search") search();
    dialog.returnValue = "";
  });
  dialog.addEventListener("input", ({ target }) => {
    if (target.valueAsNumber >= 0) place({ ...region, [target.name]: target.valueAsNumber / 100 });
  });
  watchPointer(dialog.querySelector(".stage"));
  box().addEventListener("keydown", onKey);
}

const box = () => dialog.querySelector(".box");

/** The button for an upload's region is of use only while the file is here. */
function offer() {
  const button = document.querySelector("#crop[data-upload]");
  if (button && askedFile()) button.hidden = false;
}

function search() {
  const crop = [region.x, region.y, region.width, region.height].map((part) => part.toFixed(4)).join(",");
  if (file) return searchWith(file, crop);
  const fields = state(document.getElementById("state"));
  fields.set("crop", crop);
  ask({ method: "GET", url: address(fields) });
}

/** Puts the region inside the image and shows it. */
function place(wanted) {
  const width = clamp(wanted.width, SMALLEST, 1);
  const height = clamp(wanted.height, SMALLEST, 1);
  region = { x: clamp(wanted.x, 0, 1 - width), y: clamp(wanted.y, 0, 1 - height), width, height };
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
    const by = { x: STEP * dx, y: STEP * dy };
    if (event.shiftKey) place({ ...region, width: region.width + by.x, height: region.height + by.y });
    else place({ ...region, x: region.x + by.x, y: region.y + by.y });
  } else return;
  event.preventDefault();
}

/** Drags a corner, the whole box, or draws a new one, whichever the pointer went down on. */
function watchPointer(stage) {
  stage.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    box().focus();
    stage.setPointerCapture(event.pointerId);
    const start = at(event, stage);
    const corner = event.target.dataset?.corner;
    const moved = event.target === box() ? region : null;
    const fixed = corner ? opposite(corner) : start;
    const onMove = (move) => {
      const point = at(move, stage);
      if (moved) place({ ...moved, x: moved.x + point.x - start.x, y: moved.y + point.y - start.y });
      else place(between(fixed, point));
    };
    stage.addEventListener("pointermove", onMove);
    const stop = () => stage.removeEventListener("pointermove", onMove);
    stage.addEventListener("pointerup", stop, { once: true });
    stage.addEventListener("pointercancel", stop, { once: true });
  });
}

function at(event, stage) {
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
