// The name of the image that the mouse points at on the map.
import { ROOT } from "./server.js";

const WAIT_MS = 60; // after the mouse has moved: a name is asked for where it rests
const names = new Map(); // id -> promise of the name
let timer;
let pointedAt = null;

/** Shows the name of the image that idAt(x, y) returns for the mouse's pixel. */
export function watchNames(canvas, idAt) {
  const label = canvas.parentElement.querySelector(".label");
  const hide = () => {
    clearTimeout(timer);
    pointedAt = null;
    label.hidden = true;
  };
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("pointerdown", hide);
  canvas.addEventListener("wheel", hide, { passive: true });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || event.buttons) return;
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const { offsetX: x, offsetY: y } = event;
      const id = (pointedAt = idAt(x, y));
      const name = id === null ? null : await nameOf(id);
      if (id !== pointedAt) return; // the mouse has moved on
      label.hidden = !name;
      label.textContent = name;
      const left = Math.max(Math.min(x + 14, canvas.clientWidth - label.offsetWidth - 4), 4);
      Object.assign(label.style, { left: `${left}px`, top: `${y + (y + 60 > canvas.clientHeight ? -36 : 18)}px` });
    }, WAIT_MS);
  });
}

function nameOf(id) {
  if (!names.has(id)) {
    const name = fetch(`${ROOT}api/v1/images/${id}`).then((answer) => (answer.ok ? answer.json() : {}));
    names.set(id, name.then(({ key }) => key ?? null, () => null));
  }
  return names.get(id);
}
