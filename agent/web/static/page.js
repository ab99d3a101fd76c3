// The page: who looks, which view, and what the station says as it happens.
import { ask, byId, whoAmI } from "./ask.js";
import { counted, ended, forgetVerdict, judged, redraw } from "./live.js";
import { showAlarms, loadAlerts } from "./alerts.js";
import { showAccounts, showDoctor, showHealth, showStation } from "./device.js";
import { openGate, prepareGate } from "./gate.js";
import { openRejects, prepareRejects, recordGrew } from "./rejects.js";

const me = await whoAmI();
byId("me").textContent = `${me.name}, ${me.role}`;

const views = ["live", "rejects", "gate", "alerts", "device"];
const opened = { rejects: openRejects, gate: openGate, alerts: loadAlerts, device: () => Promise.all([showAccounts(me), showDoctor()]) };

function open(view) {
  for (const name of views) {
    byId(name).hidden = name !== view;
    byId(`tab-${name}`).setAttribute("aria-selected", String(name === view));
    byId(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
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
let healthAt = 0;
const SILENT_AFTER_MS = 5000; // the inspection tells its health each second
let gate = null; // kind and words where something is wrong with it
const isSilent = () => healthAt > 0 && performance.now() - healthAt > SILENT_AFTER_MS;
function worst() {
  if (!isHere) return ["bad", "No connection to the device"];
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
  state.textContent = words;
  state.title = words;
  if (!isHere || !isConnected || isSilent()) forgetVerdict(words); // what stood there last must not be taken for what is
}

function take(now) {
  isConnected = now.is_connected;
  showStation(now.station);
  if (now.health) takeHealth(now.health);
  for (const part of now.parts) {
    judged(part);
    if (part.end) ended(part.end);
  }
  redraw();
  tellState();
}
function takeHealth(content) {
  health = content;
  healthAt = performance.now();
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
take(await ask("/api/now"));

const events = new EventSource("/api/events");
const on = (kind, act) => events.addEventListener(kind, (event) => act(JSON.parse(event.data)));
events.onopen = () => {
  isHere = true;
  tellState();
};
events.onerror = async () => {
  isHere = false;
  tellState();
  await ask("/api/me").catch(() => undefined); // to the door when the session is over
};
on("judged", judged);
on("ended", ended);
on("station", showStation);
on("health", takeHealth);
on("connection", (content) => {
  isConnected = content.is_connected;
  tellState();
});
setInterval(tellState, 1000);
