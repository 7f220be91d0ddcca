// The map of the collection: every image a point, near ones alike, pictures as one comes closer.
// The view maps a point's place (0 to 1 on both axes) to pixels: pixel = place * scale + offset.
import { loadPoints } from "./map_points.js";
import { Pictures } from "./map_pictures.js";
import { ROOT } from "./server.js";

const canvas = document.getElementById("map");
const context = canvas.getContext("2d");
const NEAREST_PX = 14; // how far from a point a click still means it
const MARGIN = 0.92; // how much of the canvas the whole collection fills
const CLOSEST = 4000; // times the first view

const pictures = new Pictures(() => redraw());
const pointers = new Map();
let points;
let view;
let queued = false;
let dragged = 0; // pixels since the pointer went down: a click is less than a few

start();

async function start() {
  try {
    points = await loadPoints(canvas.dataset.source);
  } catch {
    canvas.nextElementSibling.textContent = "The map cannot be loaded. Reload the page to try again.";
    return;
  }
  new ResizeObserver(fit).observe(canvas);
  canvas.addEventListener("wheel", onWheel, { passive: false });
  for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) canvas.addEventListener(type, onPointer);
  canvas.addEventListener("keydown", onKey);
  canvas.addEventListener("click", (event) => dragged < 5 && open(event.offsetX, event.offsetY));
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

/** The whole collection, again after the canvas has got another size. */
function fit() {
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const scale = MARGIN * Math.min(width, height);
  view = { scale, least: scale, x: (width - scale) / 2, y: (height - scale) / 2 };
  redraw();
}

function redraw() {
  if (queued || !view) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    const began = performance.now();
    const visible = points.draw(canvas, context, view);
    const shown = pictures.draw(context, points, visible, view);
    canvas.dataset.visible = visible.length;
    canvas.dataset.pictures = shown;
    canvas.dataset.ms = (performance.now() - began).toFixed(1);
  });
}

/** Zooms by a factor around a pixel, which stays where it is; 0 shows everything again. */
function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  if (!factor) return fit();
  const scale = Math.min(Math.max(view.scale * factor, view.least / 2), view.least * CLOSEST);
  const real = scale / view.scale;
  view = { ...view, scale, x: x - (x - view.x) * real, y: y - (y - view.y) * real };
  redraw();
}

function pan(dx, dy) {
  view = { ...view, x: view.x + dx, y: view.y + dy };
  redraw();
}

function onWheel(event) {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.0016), event.offsetX, event.offsetY);
}

function onPointer(event) {
  const { pointerId, type, offsetX: x, offsetY: y } = event;
  if (type === "pointerdown") {
    if (!pointers.size) dragged = 0;
    canvas.setPointerCapture(pointerId);
    pointers.set(pointerId, { x, y });
  } else if (type !== "pointermove") {
    pointers.delete(pointerId);
  } else if (pointers.has(pointerId)) {
    const before = pointers.get(pointerId);
    const [other] = [...pointers].filter(([id]) => id !== pointerId).map(([, place]) => place);
    if (other) {
      const apart = (place) => Math.hypot(place.x - other.x, place.y - other.y) || 1;
      zoom(apart({ x, y }) / apart(before), other.x, other.y);
    } else pan(x - before.x, y - before.y);
    dragged += Math.hypot(x - before.x, y - before.y);
    pointers.set(pointerId, { x, y });
  }
}

function onKey(event) {
  const step = canvas.clientWidth / 10;
  const actions = {
    ArrowLeft: () => pan(step, 0), ArrowRight: () => pan(-step, 0), ArrowUp: () => pan(0, step), ArrowDown: () => pan(0, -step),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => zoom(0),
    Enter: () => open(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity),
  };
  if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  actions[event.key]();
}

/** Opens the image at a pixel: the picture that is drawn there, else the nearest point. */
function open(x, y, reach = NEAREST_PX) {
  const id = pictures.at(x, y) ?? points.nearest(x, y, view, reach);
  if (id !== null) location.href = `${ROOT}images/${id}`;
}
