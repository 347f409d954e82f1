import { canaryView } from "./canary.js";
import { badge, clock, el, words } from "./dom.js";
import { funnelView } from "./funnel.js";
import { runView } from "./run.js";
import { lineageView, stableView } from "./stable.js";

const POLL_MS = 1_000;
const PATIENCE_MS = 8_000;
const TOKEN = "nightshift-token";

const at = (id) => document.getElementById(id);
const shown = new Map();
let chosen = decodeURIComponent(location.hash.replace(/^#agent=|^#.*/, "")) || null;
let lastAnswerMs = null;

/** Asks the API. Throws with `status` 0 where nothing answered. */
async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  let response;
  let body;
  try {
    response = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    body = await response.json();
  } catch {
    throw Object.assign(new Error("no answer"), { status: 0 });
  }
  if (!response.ok)
    throw Object.assign(new Error(body.error?.message ?? `HTTP ${response.status}`), { status: response.status, fix: body.error?.fix });
  return body;
}

const focusable = (place) => [...place.querySelectorAll("button, summary, [tabindex]")];

/** Replaces a part of the page if what it shows has changed. Closed details stay closed, and the keyboard's focus stays where it was. */
function show(id, data, nodes) {
  const key = JSON.stringify(data);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  const place = at(id);
  const focused = focusable(place).indexOf(document.activeElement);
  const closed = [...place.querySelectorAll("details:not([open]) > summary")].map((summary) => summary.textContent);
  place.replaceChildren(
    ...nodes()
      .flat(2)
      .filter((node) => node !== null),
  );
  for (const details of place.querySelectorAll("details")) {
    if (closed.includes(details.firstChild.textContent)) details.removeAttribute("open");
  }
  if (focused >= 0) focusable(place)[focused]?.focus({ preventScroll: true });
}

function render({ agents }) {
  const agent = agents.find((one) => one.agent === chosen) ?? agents[0];
  show("agents", [agents.map((one) => one.agent), agent?.agent], () => agents.map((one) => choice(one.agent, one === agent)));
  if (agent === undefined) {
    for (const id of ["funnel", "stable", "run", "canary"])
      show(id, "none", () => [el("p", { class: "quiet" }, "No agent is configured.")]);
    return;
  }
  const now = Date.now();
  const { funnel, run, experiment, stable, routes, model } = agent;
  show("labels", labelsOf(agent), () => labelsOf(agent).map(([text, kind]) => badge(text, kind)));
  show("funnel", [funnel, run?.steps.find(({ step }) => step === "select")], () => funnelView(agent));
  show("stable", [stable, routes?.version, model], () => stableView(agent));
  // What lasts is told by the second while it lasts.
  show("run", [run, run?.state === "running" ? now : 0], () => runView(agent, now));
  show("canary", [experiment, experiment?.endedAtMs === null ? Math.floor(now / 1000) : 0, agent.gateEnabled], () =>
    canaryView(agent, now),
  );
  tell(agent);
}

function choice(name, isChosen) {
  const button = el("button", { type: "button", "aria-pressed": isChosen }, name);
  button.addEventListener("click", () => {
    chosen = name;
    history.replaceState(null, "", `#agent=${encodeURIComponent(name)}`);
    void look();
  });
  return button;
}

/** What no reader of the numbers may miss. */
function labelsOf({ run, judge, judgeTrust, pairJudge, gateEnabled, sabotage, promotesOnItsOwn }) {
  return [
    sabotage === null ? null : [`sabotage: ${words(sabotage)}`, "loud bad"],
    gateEnabled ? null : ["gate off", "loud bad"],
    judge === "scripted" || pairJudge === "scripted" ? ["scripted judge", "loud warn"] : null,
    judge === null ? ["no judge configured: nights are refused", "loud bad"] : null,
    run?.alarms.some(({ acknowledged }) => acknowledged === null)
      ? ["reward alarm: the candidate waits for an operator", "loud bad"]
      : null,
    judgeTrust.status === "below_agreement" ? ["judge below its minimal agreement", "loud bad"] : null,
    promotesOnItsOwn ? null : ["promotion waits for an operator: the judge is not calibrated", "warn"],
  ].filter((label) => label !== null);
}

/** One line for those who listen: only what changed its state. */
function tell({ agent, run, experiment }) {
  const parts = [
    run === null ? null : `run ${words(run.state)}`,
    experiment === null ? null : `candidate ${words(experiment.state)}`,
  ].filter((part) => part !== null);
  const news = `${agent}: ${parts.join(", ") || "waiting for its first night"}`;
  if (at("news").textContent !== news) at("news").textContent = news;
}

async function look() {
  try {
    render(await ask("/v1/status"));
    lastAnswerMs = Date.now();
    at("outage").hidden = true;
    at("sign-in").hidden = true;
    at("connection").textContent = `live, ${clock(lastAnswerMs)}`;
  } catch (error) {
    // A defect in drawing is no outage.
    if (error.status === undefined) throw error;
    if (error.status === 401) return askForToken();
    const since = lastAnswerMs === null ? "" : ` What is shown is from ${clock(lastAnswerMs)}.`;
    const what = error.status === 0 ? "The server does not answer." : `The server could not answer: ${error.message}.`;
    if (at("outage").hidden || at("outage").textContent !== what + since) at("outage").textContent = what + since;
    at("outage").hidden = false;
    at("connection").textContent = "not connected";
  }
}

function askForToken() {
  at("outage").hidden = true;
  at("connection").textContent = "not signed in";
  if (!at("sign-in").hidden) return;
  at("sign-in-problem").textContent = sessionStorage.getItem(TOKEN) === null ? "" : "The server refused this token.";
  at("sign-in").hidden = false;
  at("token").focus();
}

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value);
  at("token").value = "";
  at("sign-in").hidden = true;
  void look();
});

at("lineage").addEventListener("submit", (event) => {
  event.preventDefault();
  const reference = at("reference").value.trim();
  if (reference !== "") void trace(reference);
});

async function trace(reference) {
  const place = at("lineage-answer");
  try {
    const lineage = await ask(`/v1/lineage/${encodeURIComponent(reference)}`);
    place.replaceChildren(
      ...lineageView(lineage)
        .flat(2)
        .filter((node) => node !== null),
    );
  } catch (error) {
    if (error.status === undefined) throw error;
    place.replaceChildren(el("p", { class: "problem" }, error.status === 0 ? "The server does not answer." : error.message));
  }
}

async function poll() {
  if (!document.hidden) await look();
  setTimeout(() => void poll(), POLL_MS);
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) void look();
});
void poll();
