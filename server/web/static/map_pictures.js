// Thumbnails on the map: shown if few enough images are in view, one in each cell of a grid, so that
// they do not overlap.
import { ROOT } from "./server.js";

const MAX_VISIBLE = 4000; // images in view; with more of them no thumbnails are shown
const CELL_PX = 66;
const THUMBNAIL_PX = 60; // longest side
const FRAME_PX = 4;
const MAX_LOADING = 6; // requests at the same time
const MAX_CACHED = 1200; // decoded thumbnails in memory

export class Pictures {
  #loaded = new Map(); // id -> HTMLImageElement, or null while it is being loaded
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
    if (visible.length > MAX_VISIBLE) return 0;
    const occupied = new Set();
    for (const i of scattered(visible, points.marks)) {
      const [x, y] = points.at(i, view);
      const cell = `${Math.floor((x - view.x) / CELL_PX)} ${Math.floor((y - view.y) / CELL_PX)}`;
      if (occupied.has(cell)) continue;
      occupied.add(cell);
      const id = points.ids[i];
      const image = this.#loaded.get(id);
      if (image) this.#paint(context, id, image, view, x, y, points.marks[i] && colours[points.marks[i]]);
      else if (image === undefined) this.#wanted.push(id);
    }
    this.#load();
    return this.#drawn.length;
  }

  /** Returns the id of the thumbnail at a pixel, or null. */
  at(x, y) {
    const hit = this.#drawn.find((box) => x >= box.x && y >= box.y && x < box.x + box.width && y < box.y + box.height);
    return hit ? hit.id : null;
  }

  /** Draws a thumbnail in the middle of its cell, in a frame of a colour if it has one. */
  #paint(context, id, image, view, px, py, colour) {
    const scale = THUMBNAIL_PX / Math.max(image.naturalWidth, image.naturalHeight);
    const width = image.naturalWidth * scale;
    const height = image.naturalHeight * scale;
    const middle = (pixel, offset) => (Math.floor((pixel - offset) / CELL_PX) + 0.5) * CELL_PX + offset;
    const x = middle(px, view.x) - width / 2;
    const y = middle(py, view.y) - height / 2;
    context.drawImage(image, x, y, width, height);
    if (colour) {
      context.strokeStyle = colour;
      context.lineWidth = FRAME_PX;
      context.strokeRect(x, y, width, height);
    }
    this.#drawn.push({ id, x, y, width, height });
  }

  #load() {
    while (this.#loading < MAX_LOADING && this.#wanted.length) {
      const id = this.#wanted.shift();
      const image = new Image();
      this.#loading++;
      this.#loaded.set(id, null);
      image.src = `${ROOT}api/v1/images/${id}/thumbnail?side=128`;
      image
        .decode()
        .then(() => this.#loaded.set(id, image), () => {}) // an image that is gone stays a point
        .finally(() => {
          this.#loading--;
          this.#evict();
          this.#onLoad();
        });
    }
  }

  #evict() {
    for (const id of this.#loaded.keys()) {
      if (this.#loaded.size <= MAX_CACHED) return;
      this.#loaded.delete(id);
    }
  }
}

/** Returns indexes of points in a fixed order, marked ones first, in which neighbours in the index are apart. */
function scattered(visible, marks) {
  const place = (i) => Math.imul(i, 0x9e3779b1) >>> 0;
  return [...visible].sort((a, b) => !marks[a] - !marks[b] || place(a) - place(b));
}
