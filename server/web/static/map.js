// The map of the collection: a point for every image, similar images near each other, thumbnails
// when zoomed in. The view converts a point's coordinates (0 to 1) to pixels: y * scale + view.y, and
// x * scale * stretch + view.x, so that everything fills the whole canvas.
import { loadPoints, markColours } from "./map_points.js";
import { Pictures } from "./map_pictures.js";
import { watchNames } from "./map_names.js";
import { ROOT } from "./server.js";

const canvas = document.getElementById("map");
const context = canvas.getContext("2d");
const CLICK_RADIUS_PX = 14; // how far from a point a click still opens it
const FILL = 0.92; // share of the canvas that the whole collection fills
const MAX_ZOOM = 4000; // relative to the view of everything
const FEW = 3; // a closer view of fewer images has the nearest one in its middle

const pictures = new Pictures(() => redraw());
const pointers = new Map();
let points;
let view;
let isQueued = false;
let draggedPx = 0; // since the pointer went down; a click moves less than 5

start();

async function start() {
  try {
    points = await loadPoints(canvas.dataset.source, canvas.dataset.marks);
  } catch {
    canvas.nextElementSibling.textContent = "The map cannot be loaded. Reload the page to try again.";
    return;
  }
  new ResizeObserver(fit).observe(canvas);
  canvas.addEventListener("wheel", onWheel, { passive: false });
  for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) canvas.addEventListener(type, onPointer);
  canvas.addEventListener("keydown", onKey);
  canvas.addEventListener("click", (event) => draggedPx < 5 && open(idAt(event.offsetX, event.offsetY)));
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  }
  watchNames(canvas, idAt);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

/** Shows the whole collection; also after the canvas was resized. */
function fit() {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return; // another page is shown
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const scale = FILL * height;
  view = { scale, fitScale: scale, stretch: width / height, x: ((1 - FILL) * width) / 2, y: ((1 - FILL) * height) / 2 };
  redraw();
}

function redraw() {
  if (isQueued || !view) return;
  isQueued = true;
  requestAnimationFrame(() => {
    isQueued = false;
    if (!canvas.isConnected) return; // another page is shown
    const start = performance.now();
    const visible = points.draw(canvas, context, view);
    const shown = pictures.draw(context, points, visible, view, markColours(canvas));
    canvas.dataset.visible = visible.length;
    canvas.dataset.pictures = shown;
    canvas.dataset.side = pictures.side;
    canvas.dataset.ms = (performance.now() - start).toFixed(1);
  });
}

/**
 * Zooms by a factor around a fixed pixel; factor 0 shows everything. It ends where a closer view shows
 * nothing more, and goes to the nearest image rather than to where there is none.
 */
function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  if (factor > 1 && pictures.isComplete) return;
  const scale = Math.min(view.scale * factor, view.fitScale * MAX_ZOOM);
  if (scale <= view.fitScale) return fit();
  const ratio = scale / view.scale;
  const closer = { ...view, scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
  const nearest = factor > 1 && points.count(canvas, closer) < FEW ? points.nearest(x, y, view) : null;
  view = nearest === null ? closer : inTheMiddle(nearest, closer);
  redraw();
}

/** Returns a view moved so that a point is in the middle of the canvas. */
function inTheMiddle(point, moved) {
  const [x, y] = points.at(point, moved);
  return { ...moved, x: moved.x + canvas.clientWidth / 2 - x, y: moved.y + canvas.clientHeight / 2 - y };
}

/** Moves the map, but not to where there are no images. */
function pan(dx, dy) {
  const moved = { ...view, x: view.x + dx, y: view.y + dy };
  if (points.count(canvas, moved)) view = moved;
  redraw();
}

function onWheel(event) {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.0016), event.offsetX, event.offsetY);
}

function onPointer(event) {
  const { pointerId, type, offsetX: x, offsetY: y } = event;
  if (type === "pointerdown") {
    if (!pointers.size) draggedPx = 0;
    canvas.setPointerCapture(pointerId);
    pointers.set(pointerId, { x, y });
  } else if (type !== "pointermove") {
    pointers.delete(pointerId);
  } else if (pointers.has(pointerId)) {
    const before = pointers.get(pointerId);
    const [other] = [...pointers].filter(([id]) => id !== pointerId).map(([, point]) => point);
    if (other) {
      const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
      zoom(distance({ x, y }) / distance(before), other.x, other.y);
    } else pan(x - before.x, y - before.y);
    draggedPx += Math.hypot(x - before.x, y - before.y);
    pointers.set(pointerId, { x, y });
  }
}

function onKey(event) {
  const step = canvas.clientWidth / 10;
  const actions = {
    ArrowLeft: () => pan(step, 0), ArrowRight: () => pan(-step, 0), ArrowUp: () => pan(0, step), ArrowDown: () => pan(0, -step),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => zoom(0),
    Enter: () => open(idAt(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity)),
  };
  if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  actions[event.key]();
}

/** Returns the id of the image at a pixel: the thumbnail drawn there, else the nearest point, or null. */
function idAt(x, y, radius = CLICK_RADIUS_PX) {
  const drawn = pictures.at(x, y);
  if (drawn !== null) return drawn;
  const nearest = points.nearest(x, y, view, radius);
  return nearest === null ? null : points.ids[nearest];
}

function open(id) {
  if (id !== null) location.href = `${ROOT}images/${id}`;
}
