// What people should know of: what goes on now, and what was raised, cleared or told before.
import { ask, byId, element, when } from "./ask.js";

const STATES = { raised: "▲ raised", cleared: "▽ over", told: "· told" };

export function showAlarms(alarms) {
  const entries = Object.entries(alarms);
  byId("alert-count").hidden = entries.length === 0;
  byId("alert-count").textContent = entries.length;
  const items = entries.map(([name, detail]) => {
    const item = element("li");
    item.append(element("strong", name), element("span", detail));
    return item;
  });
  byId("alarms").replaceChildren(...(items.length ? items : [element("li", "nothing", { class: "none" })]));
}

const AGAIN_AFTER_MS = 10000; // while the list is looked at
setInterval(() => byId("alerts").hidden || document.hidden || loadAlerts().catch(() => undefined), AGAIN_AFTER_MS);

export async function loadAlerts() {
  const rows = (await ask("/api/alerts")).map((alert) => {
    const row = element("tr", "", { class: alert.state });
    row.append(element("td", when(alert.time)), element("td", alert.alert), element("td", STATES[alert.state] ?? alert.state), element("td", alert.detail));
    return row;
  });
  byId("alert-rows").replaceChildren(...rows);
}
