import { setTimeout as sleep } from "node:timers/promises";
import type { Control, ExperimentView, RunView } from "./control.ts";
import { serveCrowd, type Served } from "./crowd.ts";
import type { Customer } from "./customers.ts";
import type { Progress } from "./report.ts";

const POLL_MS = 250;
const NIGHT_LIMIT_MS = 900_000;
const CANARY_LIMIT_MS = 300_000;
const ENDED = new Set(["promoted", "rolled_back", "expired", "superseded", "refused"]);

/** Starts the night and waits for its end, one line per finished step. */
export async function nightFalls(control: Control, progress: Progress): Promise<RunView> {
  const runId = await control.startRun();
  const shown = new Set<string>();
  const deadline = Date.now() + NIGHT_LIMIT_MS;
  for (;;) {
    const run = await control.run(runId);
    for (const step of run.steps) {
      if (step.finishedAtMs === null || shown.has(step.step)) continue;
      shown.add(step.step);
      progress.step(step.step, step.finishedAtMs - step.startedAtMs, step.output ?? {});
    }
    if (run.state !== "running") return run;
    if (Date.now() > deadline) throw new Error(`run ${runId} did not end within ${NIGHT_LIMIT_MS / 60_000} minutes`);
    await sleep(POLL_MS);
  }
}

/**
 * Waits until the night's candidate has passed or failed its gate. A night of few mixed groups may raise an alarm by chance, and holds its candidate back until an operator has
 * looked: here that is done at once, and said.
 */
export async function gateDecides(control: Control, run: RunView, progress: Progress): Promise<ExperimentView> {
  const deadline = Date.now() + NIGHT_LIMIT_MS;
  for (;;) {
    const { experiment } = await control.status();
    if (experiment !== null && experiment.id === run.id) return experiment;
    for (const alarm of await control.openAlarms(run.id)) {
      const { suspicion, explained } = alarm.check;
      const share = explained === null ? "" : `, ${Math.round(100 * explained)} % of it`;
      progress.say(`alarm: rewards pay for ${suspicion}${share}; an operator would look now, the quickstart acknowledges it`);
      await control.acknowledge(alarm, "the quickstart's rewards are computed by its own script");
    }
    if (Date.now() > deadline) throw new Error(`the gate of run ${run.id} did not end`);
    await sleep(POLL_MS);
  }
}

/** Sends live customers to the agent until the experiment has its decision. Every conversation's outcome goes back as feedback, as a shop's own system would. */
export async function liveTraffic(options: {
  control: Control;
  experimentId: string;
  /** Whom nobody has met before: a contact's id is its conversation's. */
  customers: readonly Customer[];
  agentUrl: string;
  shopUrl: string;
  concurrency: number;
  progress: Progress;
}): Promise<{ experiment: ExperimentView; served: Served[] }> {
  const { control, experimentId, progress } = options;
  let last: ExperimentView | null = null;
  const stopping = new AbortController();
  const outbox = createFeedbackOutbox(control);
  const watch = async (): Promise<ExperimentView> => {
    const deadline = Date.now() + CANARY_LIMIT_MS;
    for (;;) {
      const { experiment } = await control.status();
      if (experiment !== null && experiment.id === experimentId) {
        last = experiment;
        progress.canary(experiment);
        if (ENDED.has(experiment.state)) return experiment;
      }
      if (Date.now() > deadline)
        throw new Error(`the canary of ${experimentId} got no decision; its last state was ${last?.state ?? "unknown"}`);
      await sleep(POLL_MS);
    }
  };
  const crowd = serveCrowd({
    ...options,
    name: "live",
    comeBack: true,
    onServed: (served) => {
      outbox.add(served);
      return !stopping.signal.aborted;
    },
  });
  const experiment = await watch();
  stopping.abort();
  const served = await crowd;
  await outbox.flush();
  return { experiment, served };
}

/** Feedback in small batches, so that one call carries several conversations. */
export function createFeedbackOutbox(control: Control): { add(served: Served): void; flush(): Promise<void> } {
  let waiting: { conversationId: string; success: boolean }[] = [];
  let sending: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | null = null;
  const send = (): void => {
    timer = null;
    const items = waiting;
    waiting = [];
    if (items.length > 0) sending = sending.then(() => control.feedback(items));
  };
  return {
    add({ conversationId, outcome }) {
      waiting.push({ conversationId, success: outcome.success });
      timer ??= setTimeout(send, 100);
    },
    async flush() {
      if (timer !== null) clearTimeout(timer);
      send();
      await sending;
    },
  };
}
