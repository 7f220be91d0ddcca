// The points of the map: loaded as one block of binary data, drawn pixel by pixel.
// 100,000 of them take a few milliseconds a frame, without WebGL and so on every machine.

const SIDE = 65535; // places are whole numbers from 0 to this

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
  }

  /** Draws all points of a view and returns the indexes of those within the canvas. */
  draw(canvas, context, view) {
    const ratio = canvas.width / canvas.clientWidth;
    const { width, height } = canvas;
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const colour = ink(canvas);
    const visible = [];
    const scale = (view.scale * ratio) / SIDE;
    const left = view.x * ratio;
    const top = view.y * ratio;
    const size = Math.round(ratio * Math.min(2 + view.scale / view.least / 8, 5));
    for (let i = 0; i < this.ids.length; i++) {
      const x = Math.round(this.places[2 * i] * scale + left);
      const y = Math.round(this.places[2 * i + 1] * scale + top);
      if (x < 0 || y < 0 || x >= width - size || y >= height - size) continue;
      visible.push(i);
      for (let row = y; row < y + size; row++) pixels.fill(colour, row * width + x, row * width + x + size);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(image, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return visible;
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

/** The colour of the canvas's text as a pixel, in the byte order of this machine. */
function ink(canvas) {
  const [red, green, blue] = getComputedStyle(canvas).color.match(/[\d.]+/g).map(Number);
  return new Uint32Array(new Uint8ClampedArray([red, green, blue, 150]).buffer)[0];
}
