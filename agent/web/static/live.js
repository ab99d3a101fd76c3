// The live view: the newest picture with its verdict, the counters, the trend, the last rejects. What the gate did with a part is
// what counts: a verdict holds until the part's end is told.
import { byId, CAUSES, clock, element, lasted, number } from "./ask.js";
import { showCameras } from "./cameras.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST = 300;
const KNOWN = 1000; // more than are drawn: the station tells its last parts again to a page's process that was away
const BOOTS = 8;
const PAUSED_AFTER_MS = 2000; // an old picture must not stand beside a newer verdict, nor an old verdict beside neither
const GIVEN_UP_AFTER_MS = 20000; // a picture that was asked for
const WHY_PAUSED = { true: "picture paused: it is too long on its way to this screen", false: "picture paused: the line needs the processor" };
const parts = new Map(); // by name, as they came
let boots = []; // of the ejector process, the newest last: each counts its parts from 1
let onShow = null; // the part whose verdict stands there, if one does
let whyNonePasses = "";
let shownAt = 0;
let askedAt = 0; // for the picture that is on its way, 0 where none is: another one would take its place, and none would ever come
let isSlow = false; // the way to this screen: the last picture took too long
let pinned = null; // the camera that a person wants to see whichever decides

export function judged(told) {
  const part = entered(told);
  if (part === null || isBefore(part, onShow)) return;
  const now = Date.now();
  if (part.is_shown && (askedAt === 0 || Math.abs(now - askedAt) > GIVEN_UP_AFTER_MS)) show(part);
  const newest = isSlow ? shownAt : Math.max(shownAt, askedAt);
  if (Math.abs(now - newest) > PAUSED_AFTER_MS) showVerdictAlone(part, WHY_PAUSED[part.is_shown]);
}

// What the station still knows, in place of what this page does: it may have been away.
export function begin(told) {
  parts.clear();
  boots = [];
  onShow = null;
  askedAt = shownAt = 0;
  isSlow = false;
  byId("last-rejects").replaceChildren();
  for (const { end, ...part } of told) {
    if (part.views) entered(part);
    if (end) closed(end);
  }
  const newest = [...parts.values()].reduce((found, part) => (isBefore(part, found) ? found : part), null);
  if (newest === null) return;
  showVerdictAlone(newest, "no picture yet");
  if (newest.is_shown) show(newest);
}

// A part may be heard of first by its end: one that nobody inspected, or whose verdict came too late.
export function ended(end) {
  const wasJudged = parts.has(end.part);
  const part = closed(end);
  if (part === null) return;
  if (part === onShow) tellOutcome(part);
  else if (wasJudged ? onShow === null : !isBefore(part, onShow)) showVerdictAlone(part, "no picture");
}

// unknown: why nothing that stands there may be taken for what is. nonePasses: why the gate rejects all that comes; nothing that
// passed before it did may stand there. Empty where it is not so, and what is over is not said any more.
export function doubt(unknown, nonePasses) {
  whyNonePasses = nonePasses;
  const { outcome } = byId("verdict").dataset;
  if (unknown || outcome === "none" || (nonePasses && outcome === "pass")) showNoVerdict(unknown || nonePasses);
}

// None where the part was judged before.
function entered(told) {
  const known = parts.get(told.part);
  if (known?.views) return null;
  const boot = bootOf(told);
  boots = [...boots.filter((one) => one !== boot), boot].slice(-BOOTS);
  return kept(Object.assign(known ?? {}, told, told.views[told.deciding]));
}

// None where the part had ended before.
function closed(end) {
  const { part: name, time, outcome, detail } = end;
  const known = parts.get(name);
  if (known?.end) return null;
  if (!boots.includes(bootOf(end))) boots = [...boots, bootOf(end)].slice(-BOOTS);
  const part = known ?? kept({ part: name, time, outcome, detail, score: null, latency_ms: null });
  part.end = end;
  if (outcome === "reject") addReject(part, end);
  return part;
}

function kept(part) {
  parts.set(part.part, part);
  if (parts.size > KNOWN) parts.delete(parts.keys().next().value);
  return part;
}

const bootOf = (part) => part.part.split("/")[0];
const numberOf = (part) => Number(part.part.split("/")[1]);
function isBefore(part, other) {
  if (other === null) return false;
  const [boot, otherBoot] = [bootOf(part), bootOf(other)];
  return boot === otherBoot ? numberOf(part) < numberOf(other) : boots.indexOf(boot) < boots.indexOf(otherBoot);
}

export function redraw() {
  const all = [...parts.values()], last = all.slice(-MOST);
  drawTrend(last);
  const latencies = last.map((p) => p.latency_ms).filter((ms) => ms !== null).sort((a, b) => a - b);
  if (latencies.length) {
    byId("latency").textContent = number(latencies[Math.floor(latencies.length / 2)], 1);
    byId("latency-99").textContent = number(latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * 0.99))], 1);
  }
  const over = all.filter((p) => p.end).slice(-MOST);
  const rejected = over.filter((p) => p.end.outcome === "reject").length;
  byId("rate").textContent = over.length ? `${((100 * rejected) / over.length).toFixed(1)} %` : "–";
  byId("rate-of").textContent = over.length;
}

export function counted(health) {
  const counts = health.counts;
  const passed = counts.pass ?? 0;
  const rejected = counts.reject ?? 0;
  byId("n-parts").textContent = (passed + rejected).toLocaleString();
  byId("counted-for").textContent = `in the last ${lasted(health.uptime_s)}`; // a restart begins at 0
  byId("n-pass").textContent = passed.toLocaleString();
  byId("n-reject").textContent = rejected.toLocaleString();
  const causes = Object.entries(CAUSES).filter(([cause]) => counts[`reject/${cause}`]);
  byId("causes").textContent = causes.map(([cause, words]) => `${words}: ${counts[`reject/${cause}`]}`).join(" · ") || "nothing rejected";
}

function showVerdictAlone(part, why) {
  byId("photograph").hidden = byId("heat").hidden = byId("cameras").hidden = true;
  byId("no-picture").hidden = false;
  byId("no-picture").textContent = part.score === null ? part.detail : why;
  tellVerdict(part, part.camera);
}

function show(part) {
  const asked = (askedAt = Date.now());
  const at = part.views.findIndex((view) => view.camera === pinned);
  const k = at < 0 ? part.deciding : at;
  const view = part.views[k];
  const heatPath = view.score === null ? "" : `/live/${part.part}/${k}.png`; // a camera that gave no image has no score either
  const photograph = byId("photograph");
  const arrived = () => {
    askedAt = 0;
    isSlow = Math.abs(Date.now() - asked) > PAUSED_AFTER_MS;
    if (isSlow || isBefore(part, onShow)) return; // newer verdicts have been told without a picture
    shownAt = Date.now();
    byId("no-picture").hidden = photograph.src !== "";
    byId("no-picture").textContent = view.detail;
    photograph.hidden = photograph.src === "";
    const heat = byId("heat");
    heat.hidden = heatPath === "";
    if (heatPath) heat.src = heatPath;
    tellVerdict(part, view.camera);
    const sources = part.views.map((one, n) => ({ ...one, src: one.has_picture ? `/live/${part.part}/${n}.jpg` : "" }));
    showCameras(byId("cameras"), sources, k, (n) => {
      pinned = pinned === part.views[n].camera ? null : part.views[n].camera;
      show(part);
    });
  };
  photograph.onload = arrived;
  photograph.onerror = () => {
    askedAt = 0;
  };
  if (view.has_picture) {
    photograph.src = `/live/${part.part}/${k}.jpg`;
  } else {
    photograph.removeAttribute("src");
    arrived();
  }
}

// camera: undefined where none has seen the part.
function tellVerdict(part, camera) {
  onShow = part;
  byId("verdict").dataset.part = part.part;
  const seenBy = camera && `${camera}${camera === pinned ? " (chosen)" : ""}`;
  byId("shown-part").textContent = [`Part ${numberOf(part)}`, seenBy, clock(part.time)].filter(Boolean).join(" · ");
  tellOutcome(part);
}

function tellOutcome(part) {
  const { outcome, cause } = part.end ?? part;
  byId("photograph").alt = `part ${numberOf(part)}, ${outcome}`;
  if (outcome === "pass" && whyNonePasses) return showNoVerdict(whyNonePasses);
  const verdict = byId("verdict");
  verdict.dataset.outcome = outcome;
  verdict.querySelector(".mark").textContent = outcome === "pass" ? "✓" : "✕";
  byId("verdict-word").textContent = outcome === "pass" ? "PASS" : "REJECT";
  const isJudged = cause === "score" && part.score !== null;
  byId("verdict-detail").textContent = isJudged ? `score ${number(part.score)}` : outcome === "pass" ? "" : CAUSES[cause];
}

function showNoVerdict(why) {
  onShow = null;
  const verdict = byId("verdict");
  const words = why || "for the next part";
  if (verdict.dataset.outcome === "none" && byId("verdict-detail").textContent === words) return; // a screen reader says it once
  verdict.dataset.outcome = "none";
  verdict.querySelector(".mark").textContent = why ? "–" : "·";
  byId("verdict-word").textContent = why ? "no verdict" : "waiting";
  byId("verdict-detail").textContent = words;
}

function addReject(part, end) {
  const item = element("li");
  item.append(element("strong", numberOf(part)), element("span", CAUSES[end.cause]));
  item.append(element("span", number(part.score), { class: "score" }), element("time", clock(end.time)));
  const list = byId("last-rejects");
  list.prepend(item);
  while (list.children.length > 5) list.lastChild.remove();
}

// One dot for each part, from the oldest on the left; the line is the threshold.
function drawTrend(last) {
  const top = 2.2;
  const x = (k) => 30 + (365 * (k + 0.5)) / MOST;
  const y = (score) => 140 - (125 * Math.min(Math.max(score + 0.4, 0), top + 0.4)) / (top + 0.4);
  const drawn = [line(30, y(1), 396, y(1), "threshold"), line(30, y(0), 396, y(0), "zero"), label(4, y(1) + 4, "1"), label(4, y(0) + 4, "0")];
  last.forEach((part, k) => {
    const offset = MOST - last.length, isPass = (part.end ?? part).outcome === "pass";
    if (part.score !== null) drawn.push((isPass ? dot : cross)(x(k + offset), y(part.score)));
    else if (!isPass) drawn.push(line(x(k + offset), 140, x(k + offset), 148, "fault"));
  });
  byId("trend").replaceChildren(...drawn);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
const line = (x1, y1, x2, y2, kind) => shape("line", { x1, y1, x2, y2, class: kind });
const dot = (cx, cy) => shape("circle", { cx, cy, r: 2, class: "pass" });
const cross = (x, y) => shape("path", { d: `M${x - 3} ${y - 3}l6 6m0 -6l-6 6`, class: "reject" });
function label(x, y, text) {
  const made = shape("text", { x, y });
  made.textContent = text;
  return made;
}
