// The pictures of the map: shown where few enough images are in view, one for each cell of a grid,
// so that they never cover each other.
import { ROOT } from "./server.js";

const FEW = 4000; // images in view from which pictures appear
const CELL = 66; // pixels
const LARGEST = 60;
const AT_ONCE = 6; // thumbnails that are asked for at the same time
const KEPT = 1200; // decoded thumbnails kept in memory

export class Pictures {
  #loaded = new Map(); // id -> HTMLImageElement, null while it is on its way
  #wanted = [];
  #loading = 0;
  #drawn = [];
  #changed;

  constructor(changed) {
    this.#changed = changed;
  }

  /** Draws the pictures of a view and asks for those that are missing; returns how many it drew. */
  draw(context, points, visible, view) {
    this.#drawn = [];
    this.#wanted = [];
    if (visible.length > FEW) return 0;
    const taken = new Set();
    for (const i of visible) {
      const [x, y] = points.at(i, view);
      const cell = `${Math.floor((x - view.x) / CELL)} ${Math.floor((y - view.y) / CELL)}`;
      if (taken.has(cell)) continue;
      taken.add(cell);
      const id = points.ids[i];
      const image = this.#loaded.get(id);
      if (image) this.#paint(context, id, image, view, x, y);
      else if (image === undefined) this.#wanted.push(id);
    }
    this.#load();
    return this.#drawn.length;
  }

  /** The id of the picture at a pixel, or null. */
  at(x, y) {
    const hit = this.#drawn.find((box) => x >= box.x && y >= box.y && x < box.x + box.width && y < box.y + box.height);
    return hit ? hit.id : null;
  }

  /** In the middle of its cell, so that neighbours keep clear of each other. */
  #paint(context, id, image, view, px, py) {
    const scale = LARGEST / Math.max(image.naturalWidth, image.naturalHeight);
    const width = image.naturalWidth * scale;
    const height = image.naturalHeight * scale;
    const middle = (place, offset) => (Math.floor((place - offset) / CELL) + 0.5) * CELL + offset;
    const x = middle(px, view.x) - width / 2;
    const y = middle(py, view.y) - height / 2;
    context.drawImage(image, x, y, width, height);
    this.#drawn.push({ id, x, y, width, height });
  }

  #load() {
    while (this.#loading < AT_ONCE && this.#wanted.length) {
      const id = this.#wanted.shift();
      const image = new Image();
      this.#loading++;
      this.#loaded.set(id, null);
      image.src = `${ROOT}api/v1/images/${id}/thumbnail?side=128`;
      image
        .decode()
        .then(() => this.#loaded.set(id, image), () => {}) // one that is gone leaves its point
        .finally(() => {
          this.#loading--;
          this.#forget();
          this.#changed();
        });
    }
  }

  #forget() {
    for (const id of this.#loaded.keys()) {
      if (this.#loaded.size <= KEPT) return;
      this.#loaded.delete(id);
    }
  }
}
