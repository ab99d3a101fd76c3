// One kept part at large: what each camera saw of it, and a person's judgment.
import { ask, byId, CAUSES, number, when } from "./ask.js";
import { showCameras } from "./cameras.js";

export const KINDS = { reject: "rejected", fault: "not inspected", near: "near the threshold", pass: "passed" };
const JUDGMENTS = { true: "✓ rightly rejected", false: "✕ falsely rejected" };
let shown = null;

// saved: called with the part once a judgment of it is kept.
export function preparePart(me, saved) {
  byId("part-close").addEventListener("click", () => byId("part").close());
  byId("review").addEventListener("submit", (event) => {
    event.preventDefault();
    save(me, saved);
  });
  byId("review-save").hidden = me.role === "viewer";
  for (const input of byId("review").querySelectorAll("input, fieldset")) input.disabled = me.role === "viewer";
}

export async function openPart(kept) {
  shown = kept;
  byId("part-title").textContent = `Part ${kept.part.split("/")[1]}: ${KINDS[kept.kind]}`;
  showViews([kept], 0);
  const form = byId("review");
  form.reset();
  form.judgment.value = kept.judgment;
  form.defect.value = kept.defect;
  form.note.value = kept.note;
  byId("reviewed").textContent = kept.judgment ? `${JUDGMENTS[kept.judgment]}, says ${kept.reviewer}, ${when(kept.reviewed)}` : "";
  byId("review-error").textContent = "";
  byId("part").showModal();
  const beside = await ask(`/api/kept/${kept.id}/beside`);
  if (shown === kept) showViews([kept, ...beside], 0);
}

// The first is the one that decided.
function showViews(views, chosen) {
  const view = views[chosen];
  byId("part-photograph").src = view.has_image ? `/kept/${view.id}/image.png` : "";
  byId("part-photograph").hidden = !view.has_image;
  byId("part-photograph").alt = `photograph of part ${view.part}, camera ${view.camera}`;
  byId("part-heat").hidden = !view.has_heat;
  if (view.has_heat) byId("part-heat").src = `/kept/${view.id}/heat.png`;
  const score = view.score === null ? "" : ` · score ${number(view.score)}`;
  byId("part-detail").textContent = `${when(view.time)} · ${view.camera} · ${CAUSES[view.cause] ?? view.cause}${score}${view.score === null ? ` · ${view.detail}` : ""}`;
  const sources = views.map((one) => ({
    camera: one.camera,
    outcome: one.score === null || one.score >= 1 ? "reject" : "pass",
    src: one.has_image ? `/kept/${one.id}/small.jpg` : "",
  }));
  showCameras(byId("part-cameras"), sources, chosen, (k) => showViews(views, k));
}

async function save(me, saved) {
  const form = byId("review");
  const said = { judgment: form.judgment.value, defect: form.defect.value, note: form.note.value };
  try {
    await ask("/api/review", "POST", { id: shown.id, ...said });
  } catch (error) {
    byId("review-error").textContent = error.message;
    return;
  }
  Object.assign(shown, said, { reviewer: me.name, reviewed: new Date().toISOString() });
  byId("part").close();
  saved(shown);
}
