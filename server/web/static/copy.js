// Buttons that copy a text, such as the name of an image.

export function watchCopying() {
  addEventListener("click", async ({ target }) => {
    const text = target.dataset?.copy;
    if (text === undefined) return;
    const said = target.parentElement.querySelector("[role=status]");
    said.textContent = (await copy(text)) ? "Copied." : "It cannot be copied; select it instead.";
  });
}

/** Copies a text; resolves to whether that was possible. */
async function copy(text) {
  try {
    if (navigator.clipboard) return await navigator.clipboard.writeText(text).then(() => true);
  } catch {
    return false;
  }
  return copySelected(text); // what has no certificate has no clipboard
}

function copySelected(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  return isDone;
}
