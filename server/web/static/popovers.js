// Lists that open above the page close with Escape, or with a click beside them.
const OPEN = ".duplicates[open], .export[open]";

export function watchPopovers() {
  addEventListener("click", ({ target }) => {
    for (const popover of document.querySelectorAll(OPEN)) popover.open = popover.contains(target);
  });
  addEventListener("keydown", ({ key }) => {
    const popover = key === "Escape" && document.querySelector(OPEN);
    if (!popover) return;
    popover.open = false;
    popover.querySelector("summary").focus();
  });
}
