// Drawing a region on an image: a drag from a corner resizes it, one from its grip moves it, and any
// other draws a new one, wherever it begins.
const CLICK_PX = 5; // what moves less is no drag

/** Calls set(region) while a pointer draws on the stage; get() returns the region so far. */
export function watchDrawing(stage, get, set) {
  const picture = stage.querySelector(".picture-area");
  stage.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    stage.focus();
    stage.setPointerCapture(event.pointerId);
    const start = pointIn(picture, event);
    const { corner } = event.target.dataset;
    const before = get();
    const anchor = corner && corner !== "grip" ? opposite(before, corner) : start;
    const onMove = (move) => {
      if (!corner && Math.hypot(move.clientX - event.clientX, move.clientY - event.clientY) < CLICK_PX) return;
      const point = pointIn(picture, move);
      if (corner === "grip") set({ ...before, x: before.x + point.x - start.x, y: before.y + point.y - start.y });
      else set(between(anchor, point));
    };
    stage.addEventListener("pointermove", onMove);
    const stop = () => stage.removeEventListener("pointermove", onMove);
    stage.addEventListener("pointerup", stop, { once: true });
    stage.addEventListener("pointercancel", stop, { once: true });
  });
}

/** Returns where a pointer event is, in fractions of the picture; beside it, on its edge. */
function pointIn(picture, event) {
  const edges = picture.getBoundingClientRect();
  const share = (part, all) => Math.min(Math.max(part / all, 0), 1);
  return { x: share(event.clientX - edges.left, edges.width), y: share(event.clientY - edges.top, edges.height) };
}

const opposite = (region, corner) => ({
  x: corner.includes("w") ? region.x + region.width : region.x,
  y: corner.includes("n") ? region.y + region.height : region.y,
});

const between = (a, b) => ({
  x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y),
});
