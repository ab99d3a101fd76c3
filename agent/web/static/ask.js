// Asking the station; whoever is no longer logged in is sent to the door.
let csrf = "";

export async function ask(path, method = "GET", body = undefined) {
  const headers = { "X-CSRF-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 401) location.assign("/login");
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
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
export const CAUSES = { score: "looks strange", fault: "not inspected", late: "verdict too late", missed: "nobody inspected" };
