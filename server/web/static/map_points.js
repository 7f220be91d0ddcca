// The points of the map: loaded as binary data and drawn pixel by pixel. 100,000 points take a few
// milliseconds a frame, without WebGL, which not every machine has.

const MAX_COORDINATE = 65535; // coordinates are integers from 0 to this
const POINT_ALPHA = 110; // opacity of one point, 0 to 255
const ADDED_ALPHA = 16; // of each further point on the same pixel

/** Loads the points: n (uint32), n image ids (uint32), n pairs x, y (uint16), little endian. */
export async function loadPoints(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status}`);
  const buffer = await response.arrayBuffer();
  const count = new DataView(buffer).getUint32(0, true);
  return new Points(new Uint32Array(buffer, 4, count), new Uint16Array(buffer, 4 + 4 * count, 2 * count));
}

class Points {
  constructor(ids, coordinates) {
    this.ids = ids;
    this.coordinates = coordinates;
    this.visible = new Uint32Array(ids.length);
  }

  /** Draws all points of a view and returns the indexes of those inside the canvas. */
  draw(canvas, context, view) {
    const ratio = canvas.width / canvas.clientWidth;
    const { width, height } = canvas;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = context.createImageData(width, height);
    }
    const pixels = new Uint32Array(this.image.data.buffer).fill(0);
    const colour = textColour(canvas);
    const { ids, coordinates, visible } = this;
    let count = 0;
    const scale = (view.scale * ratio) / MAX_COORDINATE;
    const left = view.x * ratio;
    const top = view.y * ratio;
    const size = Math.round(ratio * Math.min(2 + view.scale / view.fitScale / 8, 5));
    for (let i = 0; i < ids.length; i++) {
      const x = (coordinates[2 * i] * scale + left) | 0;
      const y = (coordinates[2 * i + 1] * scale + top) | 0;
      if (x < 0 || y < 0 || x >= width - size || y >= height - size) continue;
      visible[count++] = i;
      for (let row = y * width + x, end = row + size * width; row < end; row += width) {
        for (let pixel = row; pixel < row + size; pixel++) {
          const alpha = pixels[pixel] >>> 24; // where points overlap the pixel gets darker
          pixels[pixel] = colour | ((alpha ? Math.min(alpha + ADDED_ALPHA, 255) : POINT_ALPHA) << 24);
        }
      }
    }
    context.putImageData(this.image, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0); // for what is drawn on top
    return visible.subarray(0, count);
  }

  /** Returns where a point is, in pixels of the page. */
  at(i, view) {
    return [
      (this.coordinates[2 * i] / MAX_COORDINATE) * view.scale + view.x,
      (this.coordinates[2 * i + 1] / MAX_COORDINATE) * view.scale + view.y,
    ];
  }

  /** Returns the id of the point nearest to a pixel, or null if none is within the radius. */
  nearest(x, y, view, radius) {
    let best = radius;
    let id = null;
    for (let i = 0; i < this.ids.length; i++) {
      const [px, py] = this.at(i, view);
      const distance = Math.hypot(px - x, py - y);
      if (distance < best) [best, id] = [distance, this.ids[i]];
    }
    return id;
  }
}

/** Returns the text colour of the canvas as a transparent pixel, little endian as all common CPUs are. */
function textColour(canvas) {
  const [red, green, blue] = getComputedStyle(canvas).color.match(/[\d.]+/g).map(Number);
  return red | (green << 8) | (blue << 16);
}
