// What the record keeps: rejects with a filter, one of them at large, and a person's judgment of it.
import { ask, byId, CAUSES, element, number, when } from "./ask.js";

const KINDS = { reject: "rejected", fault: "not inspected", near: "near the threshold", pass: "passed" };
const JUDGMENTS = { true: "✓ rightly rejected", false: "✕ falsely rejected" };
let shown = null;
let oldest = null;

export function prepareRejects(me) {
  byId("filter").addEventListener("input", () => openRejects());
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => load(oldest));
  byId("part-close").addEventListener("click", () => byId("part").close());
  byId("review").addEventListener("submit", save);
  byId("export").hidden = me.role !== "engineer";
  byId("review-save").hidden = me.role === "viewer";
  for (const input of byId("review").querySelectorAll("input, fieldset")) input.disabled = me.role === "viewer";
}

export async function openRejects() {
  byId("grid").replaceChildren();
  await load(null);
}

async function load(before) {
  const form = byId("filter");
  const query = new URLSearchParams({ kind: form.kind.value, review: form.review.value, text: form.text.value });
  if (before !== null) query.set("before", before);
  const found = await ask(`/api/kept?${query}`);
  byId("found").textContent = `${found.total} kept`;
  byId("defects").replaceChildren(...found.defects.map((defect) => element("option", "", { value: defect })));
  byId("grid").append(...found.kept.map(card));
  oldest = found.kept.length ? found.kept.at(-1).id : null;
  byId("more").hidden = found.kept.length < found.page;
  if (!byId("grid").children.length) byId("grid").append(element("li", "nothing kept that fits", { class: "none" }));
}

function card(kept) {
  const item = element("li", "", { class: "card" });
  const button = element("button", "", { "aria-label": `part ${kept.part}, ${KINDS[kept.kind]}` });
  if (kept.has_image) button.append(element("img", "", { src: `/kept/${kept.id}/small.jpg`, alt: "", loading: "lazy" }));
  else button.append(element("span", "no image", { class: "no-image" }));
  const words = element("span", "", { class: "words" });
  words.append(element("strong", kept.part.split("/")[1]), element("span", kept.score === null ? KINDS[kept.kind] : `score ${number(kept.score)}`));
  if (kept.judgment) words.append(element("span", kept.judgment === "true" ? (kept.defect ? `✓ ${kept.defect}` : "✓") : "✕ good", { class: "judged" }));
  button.append(words, element("time", when(kept.time)));
  button.addEventListener("click", () => open(kept));
  item.append(button);
  return item;
}

function open(kept) {
  shown = kept;
  byId("part-title").textContent = `Part ${kept.part.split("/")[1]}: ${KINDS[kept.kind]}`;
  byId("part-detail").textContent = `${when(kept.time)} · ${kept.camera} · ${CAUSES[kept.cause] ?? kept.cause} · ${kept.detail}`;
  byId("part-photograph").src = kept.has_image ? `/kept/${kept.id}/image.png` : "";
  byId("part-photograph").hidden = !kept.has_image;
  byId("part-photograph").alt = `photograph of part ${kept.part}`;
  byId("part-heat").hidden = !kept.has_heat;
  if (kept.has_heat) byId("part-heat").src = `/kept/${kept.id}/heat.png`;
  const form = byId("review");
  form.reset();
  form.judgment.value = kept.judgment;
  form.defect.value = kept.defect;
  form.note.value = kept.note;
  byId("reviewed").textContent = kept.judgment ? `${JUDGMENTS[kept.judgment]}, says ${kept.reviewer}, ${when(kept.reviewed)}` : "";
  byId("review-error").textContent = "";
  byId("part").showModal();
}

async function save(event) {
  event.preventDefault();
  const form = byId("review");
  try {
    await ask("/api/review", "POST", { id: shown.id, judgment: form.judgment.value, defect: form.defect.value, note: form.note.value });
  } catch (error) {
    byId("review-error").textContent = error.message;
    return;
  }
  byId("part").close();
  await openRejects();
}
