// What waits here for the broker: told calmly, since no part depends on it, and loudly only once something would be lost.
import { ask, byId, when } from "./ask.js";

const LOOK_EVERY_MS = 10000;
const DAY_S = 86400;

export async function watchBacklog() {
  if (!document.hidden) await ask("/api/backlog").then(show, () => undefined); // the state on top says that nobody answers
  setTimeout(watchBacklog, LOOK_EVERY_MS);
}

function show(found) {
  const isShort = found.lasts_s !== null && found.lasts_s < DAY_S;
  const notice = byId("backlog");
  const words = `${cause(found)} since ${when(found.since).slice(0, 16)}: ${events(found.waiting)}. ${room(found.lasts_s, isShort)}`;
  if (notice.textContent !== words) notice.textContent = words;
  notice.title = found.why;
  notice.dataset.kind = isShort ? "warn" : "calm";
  notice.hidden = !found.is_news;
}

const cause = (found) => (found.why ? "The broker takes no events" : "Events wait");
const events = (n) => (n ? `${n.toLocaleString("en")} are kept on this device and sent later` : "none is lost, they are kept on this device");

function room(lastsS, isShort) {
  if (lastsS === null) return "";
  if (lastsS === 0) return "There is no more room: the oldest are lost.";
  const [n, unit] = lastsS > 2 * DAY_S ? [lastsS / DAY_S, "days"] : lastsS > 7200 ? [lastsS / 3600, "hours"] : [lastsS / 60, "minutes"];
  return `There is room for about ${Math.floor(n)} ${unit} more${isShort ? ", then the oldest are lost" : ""}.`;
}
