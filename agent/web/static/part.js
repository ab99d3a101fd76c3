// One kept part at large: what each camera saw of it, and a person's judgment.
import { ask, byId, CAUSES, number, when } from "./ask.js";
import { showCameras } from "./cameras.js";

export const KINDS = { reject: "rejected", fault: "not inspected", near: "near the threshold", pass: "passed" };
const REJECTED = {
  question: "Was it right to reject it?",
  true: { choice: "Defect: rightly rejected", said: "✓ rightly rejected", mark: "✓" },
  false: { choice: "Good: falsely rejected", said: "✕ falsely rejected", mark: "✕ good" },
};
const PASSED = {
  question: "Was it right to pass it?",
  true: { choice: "Defect: an escape", said: "✕ escaped", mark: "✕ defect" },
  false: { choice: "Good: rightly passed", said: "✓ rightly passed", mark: "✓ good" },
};
let shown = null;

// What a judgment means depends on what became of the part.
export const wordsOf = (kept) => (["near", "pass"].includes(kept.kind) ? PASSED : REJECTED);

// saved: called with the part once a judgment of it is kept, be it somebody else's.
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
  const words = wordsOf(kept);
  byId("review-question").textContent = words.question;
  for (const judgment of ["true", "false"]) byId(`choice-${judgment}`).textContent = words[judgment].choice;
  showReview(kept);
  byId("review-save").disabled = false;
  byId("review-error").textContent = "";
  byId("part").showModal();
  const beside = await ask(`/api/kept/${kept.id}/beside`);
  if (shown === kept) showViews([kept, ...beside], 0);
}

function showReview(kept) {
  const form = byId("review");
  form.reset();
  form.judgment.value = kept.judgment;
  form.defect.value = kept.defect;
  form.note.value = kept.note;
  byId("reviewed").textContent = kept.judgment ? `${wordsOf(kept)[kept.judgment].said}, says ${kept.reviewer}, ${when(kept.reviewed)}` : "";
}

// Nothing of another part may stand there while this one is on its way.
function load(image, path, tell) {
  image.hidden = true;
  image.removeAttribute("src");
  tell(path ? "the picture is on its way" : "no image");
  image.onload = () => {
    image.hidden = false;
    tell("");
  };
  image.onerror = () => tell("made room for others, or the way to it is cut");
  if (path) image.src = path;
}

// The first is the one that decided.
function showViews(views, chosen) {
  const view = views[chosen];
  load(byId("part-photograph"), view.has_image ? `/kept/${view.id}/image.png` : "", (words) => (byId("part-no-picture").textContent = words));
  load(byId("part-heat"), view.has_heat ? `/kept/${view.id}/heat.png` : "", () => undefined);
  byId("part-photograph").alt = `photograph of part ${view.part}, camera ${view.camera}`;
  const score = view.score === null ? "" : ` · score ${number(view.score)}`;
  byId("part-detail").textContent = `${when(view.time)} · ${view.camera} · ${CAUSES[view.cause] ?? view.cause}${score}${view.score === null ? ` · ${view.detail}` : ""}`;
  const sources = views.map((one) => ({
    camera: one.camera,
    outcome: one.score === null || one.score >= 1 ? "reject" : "pass",
    src: one.has_image ? `/kept/${one.id}/small.jpg` : "",
  }));
  showCameras(byId("part-cameras"), sources, chosen, (k) => showViews(views, k));
}

// The person may have gone on to another part before the answer comes.
async function save(me, saved) {
  const mine = shown, form = byId("review");
  const said = { judgment: form.judgment.value, defect: form.defect.value, note: form.note.value };
  byId("review-save").disabled = true;
  try {
    const { reviewed } = await ask("/api/review", "POST", { id: mine.id, reviewed: mine.reviewed, ...said });
    Object.assign(mine, said, { reviewer: me.name, reviewed });
    if (shown === mine) byId("part").close();
    saved(mine);
  } catch (error) {
    if (error.status === 409) await look(mine, saved).catch(() => undefined);
    if (shown !== mine) return;
    const yours = [wordsOf(mine)[said.judgment].choice, said.defect, said.note].filter(Boolean).join(", ");
    byId("review-error").textContent = error.status === 409 ? `${error.message}. You had said: ${yours}` : error.message;
  } finally {
    if (shown === mine) byId("review-save").disabled = false;
  }
}

// How somebody else judged it meanwhile.
async function look(mine, saved) {
  const found = await ask(`/api/kept?kind=all&review=all&after=${mine.id - 1}&before=${mine.id + 1}`);
  Object.assign(mine, found.kept[0]);
  if (shown === mine) showReview(mine);
  saved(mine);
}
