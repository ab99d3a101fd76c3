// The gate: how it stands, what it shows the PLC and hears from it, and what a person may order of it.
import { ask, byId, define, element, sinceMs, stamp } from "./ask.js";

const LOOK_EVERY_MS = 250; // while somebody looks at this view; else slower, for the state on top
const GLANCE_EVERY_MS = 2000;
const ANSWER_WITHIN_MS = 4000;
const CHOOSES_FOR_MS = 60000; // after a person was last at the list of products
export const REASONS = {
  "rejects-in-a-row": "too many rejects in a row",
  "rejects-of-last": "too many rejects among the last parts",
  "reject-not-confirmed": "a reject did not fall into its bin",
  "part-went-by": "a part to be rejected may have gone by",
  "ejector-failed": "the ejector failed",
  "output-too-long": "the output was on for too long",
  "encoder-lost": "the encoder is lost",
  "crash-loop": "inspection was restarted again and again",
  "plc-overrun": "the PLC did not take its results",
  "recipe-gone": "the product that ran before the restart is not there any more",
  "orders-unreadable": "what was held before the restart cannot be read",
};
const ERRORS = ["none", "held", "overrun", "ejector", "trigger", "encoder", "recipe"];
const UNTIL_RESET = { 2: "it did not take its results", 6: "the product it wished does not run" }; // the others end by themselves, or hold the line
const LAMPS = ["ready", "busy", "trigger_ack", "valid", "ok", "ng", "error", "overrun", "heartbeat", "may_run", "maintenance"];
const BAD = ["ng", "error", "overrun"];

const WHILE_HELD = ["Every part is rejected until somebody has looked and resets it", "Nothing is ejected: end maintenance, and reset once somebody has looked"];

let gate = null; // as it was told last
let me = null;
let looked = () => undefined;
let wish = null; // of this page, for another product: its name, what ran then, and why it does not run once that is known
let chosenAt = null; // when a person was last at the list of products

// changed: called with what the state on top says of the gate and whether it rejects whatever comes, or null where all is well.
export function prepareGate(who, changed) {
  me = who;
  looked = changed;
  byId("gate-reset").addEventListener("click", () => order("reset"));
  byId("gate-maintenance").addEventListener("click", () => order(gate.maintenance ? "resume" : "maintenance"));
  byId("gate-recipe").addEventListener("click", () => order("recipe"));
  for (const touch of ["pointerdown", "keydown", "change"]) byId("product").addEventListener(touch, () => (chosenAt = stamp()));
  byId("product").addEventListener("change", () => show(gate));
  byId("confirm-no").addEventListener("click", () => byId("confirm").close());
  look();
  document.addEventListener("visibilitychange", () => !document.hidden && openGate());
}

export const openGate = () => ask("/api/gate", "GET", undefined, ANSWER_WITHIN_MS).then(show, () => undefined); // the state on top says that nobody answers

async function look() {
  if (!document.hidden) await openGate();
  setTimeout(look, byId("gate").hidden ? GLANCE_EVERY_MS : LOOK_EVERY_MS);
}

// Kind and words, the worst first.
function standing() {
  if (!gate.is_there) return ["bad", "The gate does not answer: no part is counted or rejected", "NO ANSWER"];
  const reasons = Object.keys(gate.held);
  if (reasons.length && gate.maintenance) return ["bad", "Line held, and maintenance: nothing is ejected", "LINE HELD"];
  if (reasons.length) return ["bad", `Line held: ${REASONS[reasons[0]] ?? reasons[0]}${reasons.length > 1 ? ` and ${reasons.length - 1} more` : ""}`, "LINE HELD"];
  if (gate.maintenance) return ["warn", "Maintenance: nothing is ejected", "MAINTENANCE"];
  if (!gate.attached) return ["bad", "No inspection: every part is rejected", "NOT READY"];
  if (gate.unable) return ["bad", `Every part is rejected: ${gate.unable}`, "NOT READY"];
  const problem = Object.values(gate.problems)[0] ?? (gate.recipe?.unsettled || latched());
  if (!gate.ready || latched()) return ["warn", problem || "not ready", "NOT READY"];
  return ["good", "The gate works", "READY"];
}

// What the PLC is shown until somebody resets it, there or here; empty where there is nothing.
function latched() {
  const code = gate.plc?.signals.error ? gate.plc.signals.error_code : 0;
  return UNTIL_RESET[code] ? `The PLC is shown error ${code} (${ERRORS[code]}) until a reset: ${UNTIL_RESET[code]}` : "";
}

const rejectsAll = () => Boolean(!gate.is_there || Object.keys(gate.held).length || !gate.attached || gate.unable || gate.recipe?.unsettled);

function show(now) {
  gate = now;
  const [kind, words, word] = standing();
  looked(kind === "good" ? null : [kind, words, rejectsAll()]);
  followWish();
  if (byId("gate").hidden) return;
  const banner = byId("gate-state");
  if (byId("gate-word").textContent !== word) byId("gate-word").textContent = word;
  banner.dataset.kind = kind;
  byId("gate-words").textContent = word === "LINE HELD" ? WHILE_HELD[Number(gate.maintenance)] : words;
  list(byId("gate-problems"), [...refused(), ...Object.values(gate.held ?? {}), ...Object.entries(gate.problems ?? {}).map(([name, detail]) => `${name}: ${detail}`)]);
  byId("gate-reset").hidden = me.role === "viewer";
  byId("gate-reset").disabled = !gate.is_there || (Object.keys(gate.held).length === 0 && !latched());
  byId("gate-maintenance").hidden = me.role !== "engineer";
  byId("gate-maintenance").disabled = !gate.is_there;
  byId("gate-maintenance").textContent = gate.maintenance ? "End maintenance" : "Begin maintenance";
  showProducts();
  byId("signals").hidden = !gate.is_there;
  if (gate.is_there) showSignals();
}

// The gate remembers a few wishes only, and none after its restart: what it has forgotten is told no more.
function followWish() {
  if (!wish || !gate.recipe) return;
  const refusal = gate.recipe.ended[wish.name] ?? null;
  if (refusal === "" || gate.recipe.number !== wish.ran || (refusal === null && wish.refusal !== null)) wish = null;
  else wish.refusal = refusal;
}
const refused = () => (wish?.refusal ? [`Product not changed: ${wish.refusal}`] : []);

function showProducts() {
  const { recipe } = gate, select = byId("product"), numbers = Object.keys(recipe?.known ?? {});
  byId("products").hidden = byId("gate-recipe").hidden = me.role === "viewer" || !numbers.length;
  if (select.dataset.numbers !== numbers.join()) {
    select.dataset.numbers = numbers.join();
    chosenAt = null;
    select.replaceChildren(...numbers.map((number) => element("option", `${number} ${recipe.known[number]}`, { value: number })));
  }
  const runs = String(recipe?.wanted || recipe?.number);
  const isChosen = chosenAt !== null && sinceMs(chosenAt) < CHOOSES_FOR_MS;
  if (!isChosen && select.value !== runs) select.value = runs;
  byId("gate-recipe").disabled = !recipe || recipe.wanted !== 0 || Number(select.value) === recipe.number;
}

function showSignals() {
  const { plc, account, incidents, pulses } = gate;
  byId("plc").hidden = !plc;
  byId("no-plc").hidden = Boolean(plc);
  if (plc) {
    lamps(byId("plc-out"), LAMPS.map((name) => [name, plc.signals[name]]));
    lamps(byId("plc-in"), ["trigger", "ack", "reset"].map((name) => [name, plc.wishes[name]]));
    const { error_code, trigger_id, result_id, missed, held_results, heartbeat_count, recipe } = plc.signals;
    values(byId("plc-words"), [
      ["error", `${error_code} ${ERRORS[error_code] ?? ""}`],
      ["trigger id", trigger_id],
      ["result id", result_id],
      ["results held", held_results],
      ["triggers missed", missed],
      ["heartbeats", heartbeat_count],
      ["recipe", plc.wishes.recipe ? `${recipe}, wished ${plc.wishes.recipe}` : recipe],
    ]);
  }
  lamps(byId("gate-out"), Object.entries(gate.outputs));
  lamps(byId("gate-in"), Object.entries(gate.inputs));
  values(byId("gate-account"), [
    ["triggers", account.triggers ?? 0],
    ["passed", account.pass ?? 0],
    ["rejected", account.reject ?? 0],
    ["on the way", gate.in_flight],
    ...(gate.place === null ? [] : [["belt at", gate.place]]),
    ...(gate.recipe?.number ? [["recipe", `${gate.recipe.number} ${gate.recipe.name}`]] : []),
    ...(pulses.p99_ms === undefined ? [] : [["pulses late by", `${pulses.p99_ms.toFixed(2)} ms at most for 99 of 100`]]),
    ...Object.entries(incidents).filter(([, n]) => n).map(([name, n]) => [name.replaceAll("_", " "), n]),
  ]);
}

// Changed in place, so that nothing flickers and a reader's place is kept.
function lamps(into, pairs) {
  if (into.children.length !== pairs.length) {
    into.replaceChildren(...pairs.map(([name]) => {
      const item = element("li");
      item.append(element("span", "", { class: "lamp", "aria-hidden": "true" }), element("span", name.replaceAll("_", " ")), element("span", "", { class: "level" }));
      item.dataset.bad = String(BAD.includes(name));
      return item;
    }));
  }
  pairs.forEach(([, isOn], k) => {
    const item = into.children[k];
    if (item.dataset.on === String(isOn)) return;
    item.dataset.on = String(isOn);
    item.lastChild.textContent = isOn ? "on" : "off";
  });
}

function values(into, pairs) {
  const names = pairs.map(([name]) => name).join();
  if (into.dataset.names !== names) define(into, pairs);
  into.dataset.names = names;
  pairs.forEach(([, value], k) => {
    const place = into.children[2 * k + 1];
    if (place.textContent !== String(value)) place.textContent = value;
  });
}

function list(into, texts) {
  if (into.dataset.texts === texts.join()) return;
  into.dataset.texts = texts.join();
  into.replaceChildren(...texts.map((text) => element("li", text)));
}

const QUESTIONS = {
  reset: ["Reset the gate?", "Somebody has been at the line and has looked. The line goes on, parts are judged again.", "Yes, reset"],
  maintenance: ["Begin maintenance?", "The outputs go off and stay off. Parts to be rejected are not ejected: nothing may go to a customer.", "Yes, begin"],
  recipe: ["Change the product?", "Parts on the way to the gate are seen out, then the other model, cameras and delays run. Parts that come meanwhile are rejected.", "Yes, change"],
  resume: ["End maintenance?", "The outputs work again: the ejector may move at any moment. Nobody has a hand in it.", "Yes, end"],
};

function order(action) {
  const [title, words, yes] = QUESTIONS[action];
  const seen = Object.keys(gate.held);
  const body = { reset: { held: seen }, recipe: { recipe: Number(byId("product").value) } }[action] ?? {};
  byId("confirm-title").textContent = title;
  byId("confirm-words").textContent = words;
  list(byId("confirm-reasons"), { reset: [...Object.values(gate.held), latched()].filter(Boolean), recipe: [byId("product").selectedOptions[0]?.textContent ?? ""] }[action] ?? []);
  byId("confirm-error").textContent = "";
  byId("confirm-yes").textContent = yes;
  byId("confirm-yes").onclick = async () => {
    byId("confirm-yes").disabled = true;
    try {
      const now = await ask(`/api/gate/${action}`, "POST", body);
      if (action === "recipe") {
        wish = { name: now.recipe.asked, ran: now.recipe.number, refusal: null };
        chosenAt = null;
      }
      show(now);
      byId("confirm").close();
    } catch (error) {
      byId("confirm-error").textContent = error.message;
    } finally {
      byId("confirm-yes").disabled = false;
    }
  };
  byId("confirm").showModal();
  byId("confirm-no").focus();
}
