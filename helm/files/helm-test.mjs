// What `helm test` runs in the cluster: one span into the collector, and a look at the control service's status. Exit code 0 when both answer as they should.
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";

const { COLLECTOR_URL, CONTROL_URL, AGENTS = "", SECRETS = "/run/secrets/nightshift" } = process.env;
const TRIES = 30;

/** Right after an install Services may lead nowhere yet. */
async function ask(what, url, request) {
  for (let left = TRIES; ; left--) {
    const answer = await fetch(url, { ...request, redirect: "error", signal: AbortSignal.timeout(5_000) }).catch((error) => error);
    if (answer.ok) return answer.json();
    const problem =
      answer instanceof Error ? (answer.cause?.code ?? answer.message) : `HTTP ${answer.status}: ${(await answer.text()).slice(0, 400)}`;
    if (left <= 1 || answer.status === 400 || answer.status === 401 || answer.status === 403)
      throw new Error(`${what}: ${url} answered ${problem}`);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  }
}

function bearer(file) {
  const path = `${SECRETS}/${file}`;
  return existsSync(path) ? { authorization: `Bearer ${readFileSync(path, "utf8").trim()}` } : {};
}

/** It says nothing of a model and forbids training: no conversation comes of it. */
function span() {
  const now = `${BigInt(Date.now()) * 1_000_000n}`;
  const text = (key, stringValue) => ({ key, value: { stringValue } });
  return {
    resourceSpans: [
      {
        resource: { attributes: [text("service.name", "nightshift-helm-test")] },
        scopeSpans: [
          {
            scope: { name: "nightshift.helm-test" },
            spans: [
              {
                traceId: randomBytes(16).toString("hex"),
                spanId: randomBytes(8).toString("hex"),
                name: "helm test",
                kind: 1,
                startTimeUnixNano: now,
                endTimeUnixNano: now,
                attributes: [{ key: "nightshift.consent", value: { boolValue: false } }],
              },
            ],
          },
        ],
      },
    ],
  };
}

try {
  if (COLLECTOR_URL !== undefined) {
    const body = JSON.stringify(span());
    const headers = { "content-type": "application/json", ...bearer("collector-token") };
    const answer = await ask("the collector", `${COLLECTOR_URL}/v1/traces`, { method: "POST", headers, body });
    const { rejectedSpans = 0, errorMessage = "" } = answer.partialSuccess ?? {};
    if (Number(rejectedSpans) > 0) throw new Error(`the collector: refused the span: ${errorMessage}`);
    console.log("the collector took one span");
  }
  const { agents } = await ask("the control service", `${CONTROL_URL}/v1/status`, { headers: bearer("operator-token") });
  const known = agents.map(({ agent }) => agent);
  const missing = AGENTS.split(",").filter((agent) => agent !== "" && !known.includes(agent));
  if (missing.length > 0) throw new Error(`the control service: knows ${known.join(", ") || "no agent"}, not ${missing.join(", ")}`);
  console.log(`the control service knows ${known.join(", ") || "no agent yet"}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
