// What the record keeps: a list with a filter, which grows while it is looked at, and never under somebody's hand.
import { ask, byId, element, number, when } from "./ask.js";
import { KINDS, openPart, preparePart, wordsOf } from "./part.js";

const MOST = 240; // cards; older ones are asked for again
const TELL_EVERY_MS = 5000;
let listing = 0; // counts the lists: answers for an earlier one are thrown away
let newest = 0; // number of the newest picture that the list knows of; may be ahead of what was told
let told = 0;
let waiting = 0; // new parts that fit and are not in the list yet
let untold = 0;
let isAsking = false;
let total = 0; // that fit, in the list or not
let growing = 0; // the list that older ones are asked for, 0 where none are

export function prepareRejects(me) {
  byId("filter").addEventListener("input", openRejects);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", showOlder);
  byId("fresh").addEventListener("click", showFresh);
  byId("export").hidden = me.role !== "engineer";
  preparePart(me, judged);
  setInterval(tell, TELL_EVERY_MS);
}

export async function openRejects() {
  const mine = ++listing;
  const found = await ask(`/api/kept?${query()}`);
  if (mine !== listing) return;
  newest = found.newest;
  setWaiting(0);
  count(found);
  byId("grid").replaceChildren(...found.kept.map(card));
  byId("more").hidden = found.kept.length < found.page;
  sayIfEmpty();
  byId("news").textContent = byId("found").textContent;
}

// The record's newest number, told once a second. A number that has gone back is another record.
export async function recordGrew(number) {
  if (byId("rejects").hidden || number === undefined || isAsking) return;
  const isAnother = number < told;
  told = number;
  if (isAnother) return openRejects();
  if (number <= newest && (waiting === 0 || isInUse())) return;
  const mine = listing;
  isAsking = true;
  try {
    const found = await ask(`/api/kept?${query()}&after=${firstNumber()}`);
    if (mine !== listing) return;
    newest = Math.max(newest, found.newest);
    count(found);
    const fresh = found.kept.filter((kept) => kept.id > firstNumber());
    untold += Math.max(0, fresh.length - waiting);
    if (isInUse()) setWaiting(fresh.length, fresh.length === found.page);
    else if (fresh.length === found.page) await openRejects(); // there may be a hole between these and the list
    else prepend(fresh);
  } finally {
    isAsking = false;
  }
}

// Somebody is at the list: what they look at or are about to press must not move.
function isInUse() {
  const grid = byId("grid");
  return scrollY > 4 || grid.contains(document.activeElement) || grid.matches(":hover") || byId("part").open;
}

function prepend(fresh) {
  setWaiting(0);
  const grid = byId("grid");
  grid.querySelector(".none")?.remove();
  grid.prepend(...fresh.map(card));
  while (grid.children.length > MOST) {
    grid.lastChild.remove();
    byId("more").hidden = false;
  }
}

async function showFresh() {
  const hadFocus = document.activeElement === byId("fresh");
  await openRejects();
  scrollTo(0, 0);
  if (hadFocus) byId("grid").querySelector("button")?.focus();
}

async function showOlder() {
  const mine = listing;
  if (growing === mine) return;
  growing = mine;
  try {
    const found = await ask(`/api/kept?${query()}&before=${Number(byId("grid").lastChild.dataset.id)}`);
    if (mine !== listing) return;
    byId("grid").append(...found.kept.map(card));
    byId("more").hidden = found.kept.length < found.page;
  } finally {
    if (growing === mine) growing = 0;
  }
}

function query() {
  const form = byId("filter");
  return new URLSearchParams({ kind: form.kind.value, review: form.review.value, text: form.text.value });
}

const firstNumber = () => Number(byId("grid").firstChild?.dataset.id ?? 0);

function count(found) {
  tellTotal(found.total);
  byId("defects").replaceChildren(...found.defects.map((defect) => element("option", "", { value: defect })));
}

function tellTotal(n) {
  total = n;
  byId("found").textContent = `${total} kept`;
}

function setWaiting(n, orMore = false) {
  waiting = n;
  byId("fresh").hidden = n === 0;
  byId("fresh").textContent = `↑ ${n}${orMore ? "+" : ""} new`;
}

// For a screen reader: politely, and not with every part.
function tell() {
  if (untold && !byId("rejects").hidden) byId("news").textContent = `${untold} new, ${byId("found").textContent}`;
  untold = 0;
}

function sayIfEmpty() {
  const grid = byId("grid");
  if (!grid.children.length) grid.append(element("li", "nothing kept that fits", { class: "none" }));
}

function card(kept) {
  const item = element("li", "", { class: "card", "data-id": kept.id });
  const button = element("button", "", { "aria-label": `part ${kept.part.split("/")[1]}, ${KINDS[kept.kind]}` });
  if (kept.has_image) {
    const photograph = element("img", "", { src: `/kept/${kept.id}/small.jpg`, alt: "", loading: "lazy" });
    photograph.addEventListener("error", () => photograph.replaceWith(element("span", "made room for others", { class: "no-image" })));
    button.append(photograph);
  } else button.append(element("span", "no image", { class: "no-image" }));
  const words = element("span", "", { class: "words" });
  words.append(element("strong", kept.part.split("/")[1]), element("span", kept.score === null ? KINDS[kept.kind] : `score ${number(kept.score)}`));
  if (kept.judgment) words.append(element("span", markOf(kept), { class: "judged" }));
  button.append(words, element("time", when(kept.time)));
  button.addEventListener("click", () => openPart(kept));
  item.append(button);
  return item;
}

const markOf = (kept) => [wordsOf(kept)[kept.judgment].mark, kept.defect].filter(Boolean).join(" ");

// A judgment was kept: its card says so, and leaves a list that it does not fit any more. There may be more than are in the list.
async function judged(kept) {
  const before = byId("grid").querySelector(`[data-id="${kept.id}"]`);
  const fits = { all: true, open: false }[byId("filter").review.value] ?? byId("filter").review.value === kept.judgment;
  const next = fits ? card(kept) : before?.nextElementSibling ?? before?.previousElementSibling;
  if (fits) before?.replaceWith(next);
  else if (before) {
    before.remove();
    tellTotal(total - 1);
  }
  next?.querySelector("button")?.focus();
  if (byId("grid").querySelector(".card")) return;
  byId("more").hidden = true;
  await openRejects();
  byId("grid").querySelector("button")?.focus();
}
