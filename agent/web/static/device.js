// What the station is made of and how it is; and who may use the page.
import { ask, byId, define, element, lasted } from "./ask.js";

export function showStation(station) {
  byId("station").textContent = byId("station").title = station.station ?? "Kensa";
  document.title = station.station ? `${station.station} · Kensa` : "Kensa";
  define(byId("birth"), Object.entries(station).map(([key, value]) => [key.replaceAll("_", " "), value]));
}

export function showHealth(health) {
  const c = health.counts;
  define(byId("account"), [
    ["triggers", health.triggers],
    ["passed", c.pass ?? 0],
    ["rejected", c.reject ?? 0],
    ["on the way", health.in_flight],
    ["unaccounted for", health.account],
  ]);
  const rows = [["running for", lasted(health.uptime_s)], ["broker", health.broker || "takes events"]];
  for (const [name, n] of Object.entries(health.queues)) rows.push([`waiting: ${name}`, n]);
  for (const [name, n] of Object.entries(health.drops)) rows.push([`dropped: ${name}`, n]);
  for (const [name, n] of Object.entries({ ...health.gauges, ...health.drift })) {
    const isBytes = name.endsWith("_bytes");
    rows.push([name.replace("_bytes", "").replaceAll("_", " "), isBytes ? `${(n / 1e6).toFixed(1)} MB` : Number(n.toPrecision(4))]);
  }
  define(byId("health"), rows);
}

export async function showAccounts(me) {
  if (me.role !== "engineer") return;
  byId("accounts-panel").hidden = false;
  const items = Object.entries(await ask("/api/accounts")).map(([name, role]) => {
    const item = element("li", `${name}, ${role} `);
    const remove = element("button", "Remove", { class: "quiet", "aria-label": `Remove ${name}` });
    remove.addEventListener("click", () => change("DELETE", { name }, me));
    item.append(remove);
    return item;
  });
  byId("accounts").replaceChildren(...items);
  byId("new-account").onsubmit = (event) => {
    event.preventDefault();
    const form = event.target;
    change("POST", { name: form.name.value, password: form.password.value, role: form.role.value }, me);
    form.password.value = "";
  };
}

async function change(method, body, me) {
  byId("account-error").textContent = "";
  try {
    await ask("/api/accounts", method, body);
    await showAccounts(me);
  } catch (error) {
    byId("account-error").textContent = error.message;
  }
}

const DOCTOR_WITHIN_MS = 90000;
const HEALTHS = { ok: "✓", warn: "▲", fail: "✕" };

const AGAIN_AFTER_MS = 300000; // while it is looked at
setInterval(() => byId("device").hidden || document.hidden || showDoctor().catch(() => undefined), AGAIN_AFTER_MS);

export async function showDoctor() {
  const list = byId("doctor");
  if (!list.children.length) list.append(element("li", "looking ..."));
  const items = (await ask("/api/doctor", "GET", undefined, DOCTOR_WITHIN_MS)).map((finding) => {
    const item = element("li", "", { class: finding.health });
    item.append(element("strong", `${HEALTHS[finding.health] ?? ""} ${finding.name}: `), element("span", finding.found));
    if (finding.remedy) item.append(element("p", finding.remedy, { class: "small" }));
    return item;
  });
  list.replaceChildren(...items);
}
