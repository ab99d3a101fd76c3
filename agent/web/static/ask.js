// Asking the station; whoever is no longer logged in is sent to the door.
let csrf = "";
let heard = stamp();

// A moment, by two clocks: one stands while the tablet sleeps, the other one may be set.
export function stamp() {
  return { steady: performance.now(), wall: Date.now() };
}
export const sinceMs = (then) => Math.max(performance.now() - then.steady, Date.now() - then.wall);

// The station has said something, whatever it was.
export function hear() {
  heard = stamp();
}
export const silentMs = () => sinceMs(heard);

export async function ask(path, method = "GET", body = undefined, withinMs = 30000) {
  const headers = { "X-CSRF-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(withinMs);
  const answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  hear();
  if (answer.status === 401) location.assign("/login");
  const content = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(content.error), { status: answer.status });
  return content;
}

export async function whoAmI() {
  const me = await ask("/api/me");
  csrf = me.csrf;
  return me;
}

export const byId = (id) => document.getElementById(id);

export function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// A list of definitions from pairs of words.
export function define(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([word, meaning]) => [element("dt", word), element("dd", String(meaning))]));
}

export const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
// As ISO 8601 has it, in the time of the panel: 2026-11-21 09:39:43.
export const clock = (utc) => new Date(utc).toLocaleTimeString("sv-SE");
export const when = (utc) => new Date(utc).toLocaleString("sv-SE");
export const lasted = (s) => (s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${Math.floor(s / 86400)} days`);
export const CAUSES = { score: "looks strange", fault: "not inspected", late: "verdict too late", missed: "nobody inspected" };
