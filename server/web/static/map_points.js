// The points of the map: loaded as binary data and drawn pixel by pixel. 100,000 points take a few
// milliseconds a frame, without WebGL, which not every machine has.

const MAX_COORDINATE = 65535; // coordinates are integers from 0 to this
const POINT_ALPHA = 110; // opacity of one point, 0 to 255
const ADDED_ALPHA = 16; // of each further point on the same pixel
const MARKED_ALPHA = 220; // of a point whose colour says something
const MARKS = 8; // colours of values
const HIDDEN = 255; // mark of an image that does not pass the filter

/**
 * Loads the points: n (uint32), n image ids (uint32), n pairs x, y (uint16), little endian.
 * Their marks, a byte each, are those of /api/v1/map/marks; without them nothing is marked.
 */
export async function loadPoints(url, marksUrl) {
  const [buffer, given] = await Promise.all([load(url), marksUrl ? load(marksUrl) : null]);
  const count = new DataView(buffer).getUint32(0, true);
  const marks = given ? new Uint8Array(given) : new Uint8Array(count);
  if (marks.length !== count) throw new Error("the index has changed in between");
  return new Points(new Uint32Array(buffer, 4, count), new Uint16Array(buffer, 4 + 4 * count, 2 * count), marks);
}

async function load(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status}`);
  return response.arrayBuffer();
}

class Points {
  constructor(ids, coordinates, marks) {
    this.ids = ids;
    this.coordinates = coordinates;
    this.marks = marks;
    this.order = drawingOrder(marks);
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
    const colours = markColours(canvas).map(toPixel);
    const { coordinates, marks, order, visible } = this;
    let count = 0;
    const scaleY = (view.scale * ratio) / MAX_COORDINATE;
    const scaleX = scaleY * view.stretch;
    const left = view.x * ratio;
    const top = view.y * ratio;
    const size = Math.round(ratio * Math.min(2 + view.scale / view.fitScale / 8, 5));
    for (const i of order) {
      const x = (coordinates[2 * i] * scaleX + left) | 0;
      const y = (coordinates[2 * i + 1] * scaleY + top) | 0;
      if (x < 0 || y < 0 || x >= width - size || y >= height - size) continue;
      visible[count++] = i;
      const colour = colours[marks[i]];
      const first = marks[i] ? MARKED_ALPHA : POINT_ALPHA;
      for (let row = y * width + x, end = row + size * width; row < end; row += width) {
        for (let pixel = row; pixel < row + size; pixel++) {
          const alpha = pixels[pixel] >>> 24; // where points overlap the pixel gets darker
          pixels[pixel] = colour | ((alpha ? Math.min(Math.max(alpha, first) + ADDED_ALPHA, 255) : first) << 24);
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
      (this.coordinates[2 * i] / MAX_COORDINATE) * view.scale * view.stretch + view.x,
      (this.coordinates[2 * i + 1] / MAX_COORDINATE) * view.scale + view.y,
    ];
  }

  /** Returns the index of the point nearest to a pixel, or null if none is within the radius. */
  nearest(x, y, view, radius = Infinity) {
    let best = radius;
    let found = null;
    for (const i of this.order) {
      const [px, py] = this.at(i, view);
      const distance = Math.hypot(px - x, py - y);
      if (distance < best) [best, found] = [distance, i];
    }
    return found;
  }

  /** Returns how many points of a view are inside the canvas. */
  count(canvas, view) {
    let found = 0;
    for (const i of this.order) {
      const [x, y] = this.at(i, view);
      if (x >= 0 && y >= 0 && x < canvas.clientWidth && y < canvas.clientHeight) found++;
    }
    return found;
  }
}

/** Returns the indexes of the points that are not hidden; marked ones last, so that they lie above. */
function drawingOrder(marks) {
  const shown = marks.filter((mark) => mark !== HIDDEN).length;
  const order = new Uint32Array(shown);
  let next = 0;
  for (let i = 0; i < marks.length; i++) if (marks[i] === 0) order[next++] = i;
  for (let i = 0; i < marks.length; i++) if (marks[i] !== 0 && marks[i] !== HIDDEN) order[next++] = i;
  return order;
}

/** Returns the colours of the marks, "rgb(…)" or "#rrggbb"; that of no mark is the canvas' text colour. */
export function markColours(canvas) {
  const style = getComputedStyle(canvas);
  const colours = [style.color];
  for (let mark = 1; mark <= MARKS; mark++) colours.push(style.getPropertyValue(`--mark-${mark}`).trim());
  return colours;
}

/** Returns a colour as a transparent pixel, little endian as all common CPUs are. */
function toPixel(colour) {
  const parts = colour.startsWith("#")
    ? [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16))
    : colour.match(/[\d.]+/g).map(Number);
  return parts[0] | (parts[1] << 8) | (parts[2] << 16);
}
