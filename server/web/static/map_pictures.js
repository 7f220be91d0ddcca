// Thumbnails on the map: shown if few enough images are in view, one in each cell of a grid, so that
// they do not overlap. Where images are crowded, cells around are used as well: as many are shown as
// fit. The cells, and the thumbnails in them, grow with the zoom.
import { ROOT } from "./server.js";

const MAX_VISIBLE = 4000; // images in view; with more of them no thumbnails are shown
const CELL_PX = 66; // in the view of everything
const MAX_CELL_PX = 240;
const ENOUGH = 8; // images in view that need not be larger if all of them are shown
const GAP_PX = 6; // between thumbnails
const REACH = 2; // how many cells from its point a thumbnail may be
const FRAME_PX = 4;
const SIDES = [128, 320]; // of thumbnails
const MAX_LOADING = 6; // requests at the same time
const MAX_CACHED = 1200; // decoded thumbnails in memory
const AROUND = cellsAround();

export class Pictures {
  #loaded = new Map(); // "id/side" -> HTMLImageElement, or null while it is being loaded
  #wanted = [];
  #loading = 0;
  #drawn = [];
  #onLoad;

  constructor(onLoad) {
    this.#onLoad = onLoad;
  }

  /** Draws the thumbnails of a view and loads missing ones; returns how many it drew. */
  draw(context, points, visible, view, colours) {
    this.#drawn = [];
    this.#wanted = [];
    const side = cellSide(view);
    const placed = visible.length > MAX_VISIBLE ? [] : place(context.canvas, points, visible, view, side);
    /** Whether a closer view would show no more than this one, and much empty space. */
    this.isComplete = placed.length === visible.length && (side === MAX_CELL_PX || visible.length <= ENOUGH);
    const size = SIDES.find((one) => one >= side * devicePixelRatio) ?? SIDES.at(-1);
    /** The longest side of the thumbnails. */
    this.side = Math.round(side - GAP_PX);
    for (const { i, x, y } of placed) {
      const id = points.ids[i];
      const image = this.#load(id, size);
      if (image) this.#paint(context, id, image, x, y, this.side, points.marks[i] && colours[points.marks[i]]);
    }
    this.#loadWanted();
    return this.#drawn.length;
  }

  /** Returns the id of the thumbnail at a pixel, or null. */
  at(x, y) {
    const hit = this.#drawn.find((box) => x >= box.x && y >= box.y && x < box.x + box.width && y < box.y + box.height);
    return hit ? hit.id : null;
  }

  /** Draws a thumbnail around a pixel, in a frame of a colour if it has one. */
  #paint(context, id, image, px, py, longest, colour) {
    const scale = longest / Math.max(image.naturalWidth, image.naturalHeight);
    const width = image.naturalWidth * scale;
    const height = image.naturalHeight * scale;
    const x = px - width / 2;
    const y = py - height / 2;
    context.drawImage(image, x, y, width, height);
    if (colour) {
      context.strokeStyle = colour;
      context.lineWidth = FRAME_PX;
      context.strokeRect(x, y, width, height);
    }
    this.#drawn.push({ id, x, y, width, height });
  }

  /** Returns a thumbnail, or until it is loaded one of another size, if there is one. */
  #load(id, size) {
    const found = this.#loaded.get(`${id}/${size}`);
    if (found === undefined) this.#wanted.push([id, size]);
    return found ?? SIDES.map((other) => this.#loaded.get(`${id}/${other}`)).find(Boolean);
  }

  #loadWanted() {
    while (this.#loading < MAX_LOADING && this.#wanted.length) {
      const [id, size] = this.#wanted.shift();
      const image = new Image();
      this.#loading++;
      this.#loaded.set(`${id}/${size}`, null);
      image.src = `${ROOT}api/v1/images/${id}/thumbnail?side=${size}`;
      image
        .decode()
        .then(() => this.#loaded.set(`${id}/${size}`, image), () => {}) // an image that is gone stays a point
        .finally(() => {
          this.#loading--;
          this.#evict();
          this.#onLoad();
        });
    }
  }

  #evict() {
    for (const key of this.#loaded.keys()) {
      if (this.#loaded.size <= MAX_CACHED) return;
      this.#loaded.delete(key);
    }
  }
}

/** Returns how large the cells of a view are: they grow more slowly than what is between the points. */
const cellSide = (view) => Math.min(CELL_PX * (view.scale / view.fitScale) ** 0.75, MAX_CELL_PX);

/**
 * Returns which images get a thumbnail, each with the middle of its cell. Each cell first takes one of
 * its own images, then the others take the nearest free cells. Cells move with the map.
 */
function place(canvas, points, visible, view, side) {
  const taken = new Map();
  const crowded = [];
  const take = (column, row, i) => {
    const key = `${column} ${row}`;
    if (taken.has(key)) return false;
    taken.set(key, { i, x: (column + 0.5) * side + view.x, y: (row + 0.5) * side + view.y });
    return true;
  };
  const isWhole = (column, row) => {
    const [left, top] = [column * side + view.x, row * side + view.y];
    return left >= 0 && top >= 0 && left + side <= canvas.clientWidth && top + side <= canvas.clientHeight;
  };
  for (const i of scattered(visible, points.marks)) {
    const [x, y] = points.at(i, view);
    const [column, row] = [Math.floor((x - view.x) / side), Math.floor((y - view.y) / side)];
    if (!take(column, row, i)) crowded.push([column, row, i]);
  }
  for (const [column, row, i] of crowded) {
    AROUND.some(([dx, dy]) => isWhole(column + dx, row + dy) && take(column + dx, row + dy, i));
  }
  return [...taken.values()];
}

/** Returns the offsets of the cells around one, the nearest first. */
function cellsAround() {
  const steps = Array.from({ length: 2 * REACH + 1 }, (_, n) => n - REACH);
  return steps
    .flatMap((dx) => steps.map((dy) => [dx, dy]))
    .sort((a, b) => Math.hypot(...a) - Math.hypot(...b))
    .slice(1);
}

/** Returns indexes of points in a fixed order, marked ones first, in which neighbours in the index are apart. */
function scattered(visible, marks) {
  const place = (i) => Math.imul(i, 0x9e3779b1) >>> 0;
  return [...visible].sort((a, b) => !marks[a] - !marks[b] || place(a) - place(b));
}
