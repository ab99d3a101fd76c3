// The pictures of one part side by side, where several cameras have seen it; the chosen one is shown large elsewhere.
import { element } from "./ask.js";

const MARKS = { pass: "✓", reject: "✕" };

// views: of one part, each with camera, outcome and src, empty where that camera gave no picture. pick: a person wants the k-th.
export function showCameras(list, views, chosen, pick) {
  list.hidden = views.length < 2;
  list.pick = pick;
  while (list.children.length > views.length) list.lastChild.remove();
  while (list.children.length < views.length) list.append(thumbnail(list, list.children.length));
  views.forEach((view, k) => {
    const button = list.children[k];
    const [photograph, words] = button.children;
    photograph.hidden = !view.src;
    if (view.src && photograph.getAttribute("src") !== view.src) photograph.src = view.src;
    words.textContent = `${MARKS[view.outcome] ?? ""} ${view.camera}`;
    button.dataset.outcome = view.outcome;
    button.setAttribute("aria-pressed", String(k === chosen));
    button.setAttribute("aria-label", `camera ${view.camera}, ${view.src ? view.outcome : "no picture"}`);
  });
}

function thumbnail(list, k) {
  const button = element("button");
  button.append(element("img", "", { alt: "" }), element("span"));
  button.addEventListener("click", () => list.pick(k));
  return button;
}
