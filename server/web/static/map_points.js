// The points of the map: loaded as one block of binary data, drawn pixel by pixel.
// 100,000 of them take a few milliseconds a frame, without WebGL and so on every machine.

const SIDE = 65535; // places are whole numbers from 0 to this
const FIRST = 110; // opacity of one point, 0 to 255
const MORE = 16; // and of every further one on the same pixel

/** Loads the block: a count n (uint32), n image ids (uint32), n places x, y (uint16), little endian. */
export async function loadPoints(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status}`);
  const block = await response.arrayBuffer();
  const count = new DataView(block).getUint32(0, true);
  return new Points(new Uint32Array(block, 4, count), new Uint16Array(block, 4 + 4 * count, 2 * count));
}

class Points {
  constructor(ids, places) {
    this.ids = ids;
    this.places = places;
    this.visible = new Uint32Array(ids.length);
  }

  /** Draws all points of a view and returns the indexes of those within the canvas. */
  draw(canvas, context, view) {
    const ratio = canvas.width / canvas.clientWidth;
    const { width, height } = canvas;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = context.createImageData(width, height);
    }
    const pixels = new Uint32Array(this.image.data.buffer).fill(0);
    const colour = ink(canvas);
    const { ids, places, visible } = this;
    let found = 0;
    const scale = (view.scale * ratio) / SIDE;
    const left = view.x * ratio;
    const top = view.y * ratio;
    const size = Math.round(ratio * Math.min(2 + view.scale / view.least / 8, 5));
    for (let i = 0; i < ids.length; i++) {
      const x = (places[2 * i] * scale + left) | 0;
      const y = (places[2 * i + 1] * scale + top) | 0;
      if (x < 0 || y < 0 || x >= width - size || y >= height - size) continue;
      visible[found++] = i;
      for (let row = y * width + x, end = row + size * width; row < end; row += width) {
        for (let pixel = row; pixel < row + size; pixel++) {
          const dark = pixels[pixel] >>> 24; // where many lie, it gets darker
          pixels[pixel] = colour | ((dark ? Math.min(dark + MORE, 255) : FIRST) << 24);
        }
      }
    }
    context.putImageData(this.image, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0); // for what is drawn on top
    return visible.subarray(0, found);
  }

  /** Where a point is, in pixels of the page. */
  at(i, view) {
    return [
      (this.places[2 * i] / SIDE) * view.scale + view.x,
      (this.places[2 * i + 1] / SIDE) * view.scale + view.y,
    ];
  }

  /** The id of the point nearest to a pixel, if it is within reach, else null. */
  nearest(x, y, view, reach) {
    let best = reach;
    let id = null;
    for (let i = 0; i < this.ids.length; i++) {
      const [px, py] = this.at(i, view);
      const away = Math.hypot(px - x, py - y);
      if (away < best) [best, id] = [away, this.ids[i]];
    }
    return id;
  }
}

/** The colour of the canvas's text as a transparent pixel, little endian as browsers' machines are. */
function ink(canvas) {
  const [red, green, blue] = getComputedStyle(canvas).color.match(/[\d.]+/g).map(Number);
  return red | (green << 8) | (blue << 16);
}
