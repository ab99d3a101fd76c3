// The page: who looks, which view, and what the station says as it happens.
import { ask, byId, hear, silentMs, sinceMs, stamp, whoAmI } from "./ask.js";
import { begin, counted, doubt, ended, judged, redraw } from "./live.js";
import { showAlarms, loadAlerts } from "./alerts.js";
import { watchBacklog } from "./backlog.js";
import { showAccounts, showDoctor, showHealth, showStation } from "./device.js";
import { openGate, prepareGate } from "./gate.js";
import { openRejects, prepareRejects, recordGrew } from "./rejects.js";

const me = await whoAmI();
byId("me").textContent = byId("me").title = `${me.name}, ${me.role}`;

const views = ["live", "rejects", "gate", "alerts", "device"];
const opened = { rejects: openRejects, gate: openGate, alerts: loadAlerts, device: () => Promise.all([showAccounts(me), showDoctor()]) };

function open(view) {
  for (const name of views) {
    byId(name).hidden = name !== view;
    byId(`tab-${name}`).setAttribute("aria-selected", String(name === view));
    byId(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  document.body.dataset.view = view;
  history.replaceState(null, "", `#${view}`); // where the page is again when it is loaded anew
  opened[view]?.();
}
for (const view of views) {
  const tab = byId(`tab-${view}`);
  tab.addEventListener("click", () => open(view));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = views[(views.indexOf(view) + step + views.length) % views.length];
    open(next);
    byId(`tab-${next}`).focus();
  });
}

for (const [button, heat] of [["heat-switch", "heat"], ["part-heat-switch", "part-heat"]]) {
  byId(button).addEventListener("click", () => {
    const isOn = byId(button).getAttribute("aria-pressed") !== "true";
    byId(button).setAttribute("aria-pressed", String(isOn));
    byId(heat).classList.toggle("off", !isOn);
  });
}

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark")) === "dark";
const kept = localStorage.getItem("theme");
if (kept) document.documentElement.dataset.theme = kept;
byId("theme").addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
});
byId("logout").addEventListener("click", async () => {
  await ask("/logout", "POST");
  location.assign("/login");
});

// What the station is: three words that can be read from across the hall.
let isConnected = false;
let isHere = false;
let health = null;
let healthAt = null;
const AWAY_AFTER_MS = 6000; // the station answers each look at the gate
const SILENT_AFTER_MS = 7500; // the inspection tells its health each second; later than the above: it is not to blame for a network
let gate = null; // kind and words where something is wrong with it, and whether it rejects whatever comes
const isSilent = () => healthAt !== null && sinceMs(healthAt) > SILENT_AFTER_MS;
const isAway = () => !isHere || silentMs() > AWAY_AFTER_MS;
function worst() {
  if (isAway()) return ["bad", "No connection to the device"];
  if (!isConnected) return ["bad", "Inspection does not run: every part is rejected"];
  if (isSilent()) return ["bad", "Inspection does not answer: parts are rejected"];
  if (gate) return gate;
  if (health?.account) return ["bad", `${health.account} parts unaccounted for`];
  if (health?.trouble) return ["warn", health.trouble];
  const [alarm] = Object.values(health?.alarms ?? {});
  return alarm ? ["warn", alarm] : ["good", "Running"];
}
function tellState() {
  const state = byId("state");
  const [kind, words] = worst();
  state.dataset.kind = kind;
  if (state.textContent !== words) state.textContent = state.title = words;
  doubt(isAway() || !isConnected || isSilent() ? words : "", gate?.[2] ? gate[1] : "");
}

function take(now) {
  showStation(now.station);
  if (now.health) takeHealth(now.health);
  isConnected = now.is_connected;
  begin(now.parts);
  redraw();
  tellState();
}
function takeHealth(content) {
  isConnected = true;
  health = content;
  healthAt = stamp();
  counted(health);
  showHealth(health);
  showAlarms(health.alarms);
  recordGrew(health.gauges.record_newest);
  redraw();
  tellState();
}

prepareRejects(me);
prepareGate(me, (found) => {
  gate = found;
  tellState();
});

// What happens at the station, for weeks: each time that the way to it was cut, all is looked at anew.
const AGAIN_AFTER_MS = 2000; // where it was refused; a way that is cut the browser tries by itself
const DEAF_AFTER_MS = 30000; // the station says something at least every ten seconds
let events = null;
let toldAt = stamp();
let version = null; // of the page, as it was opened
let isOutdated = false;

function listen() {
  events?.close();
  toldAt = stamp();
  const mine = (events = new EventSource("/api/events"));
  const on = (kind, act) => {
    mine.addEventListener(kind, (event) => {
      toldAt = stamp();
      hear();
      act(JSON.parse(event.data));
    });
  };
  mine.onopen = async () => {
    const now = await ask("/api/now").catch(() => null);
    if (mine !== events) return;
    if (now === null) {
      listenLater(mine);
      return;
    }
    version ??= now.version;
    isOutdated = now.version !== version;
    isHere = true;
    take(now);
  };
  mine.onerror = async () => {
    if (mine !== events) return;
    isHere = false;
    tellState();
    if (mine.readyState === EventSource.CLOSED) listenLater(mine);
    await ask("/api/me").catch(() => undefined); // to the door when the session is over
  };
  on("judged", judged);
  on("ended", ended);
  on("station", showStation);
  on("health", takeHealth);
  on("alive", () => undefined);
  on("connection", (content) => {
    isConnected = content.is_connected;
    tellState();
  });
}
const listenLater = (mine) => setTimeout(() => mine === events && listen(), AGAIN_AFTER_MS);
listen();
watchBacklog();
if (views.includes(location.hash.slice(1))) open(location.hash.slice(1));

// A page that is older than what serves it is loaded again, once nobody has a hand in it.
const isInUse = () => document.querySelector("dialog[open]") || (document.activeElement?.matches("input") && document.activeElement.value);
setInterval(() => {
  tellState();
  if (sinceMs(toldAt) > DEAF_AFTER_MS) listen();
  if (isOutdated && !isAway() && !isInUse()) location.reload();
}, 1000);
document.addEventListener("visibilitychange", tellState);
