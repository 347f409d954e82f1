import { setTimeout as sleep } from "node:timers/promises";
import type { AlarmView, Control } from "../../../deploy/quickstart/control.ts";

const LIMIT_MS = 30_000;
const PAUSE_MS = 250;

/** As a client calls whose connection may end with the replica that it led to: again, until another replica answers. An answer that says no is one. */
export function patient(control: Control): Control {
  return {
    status: again(() => control.status()),
    run: again((id: string) => control.run(id)),
    startRun: () => control.startRun(),
    openAlarms: again((runId: string) => control.openAlarms(runId)),
    acknowledge: again((alarm: AlarmView, reason: string) => control.acknowledge(alarm, reason)),
    feedback: again((items: Parameters<Control["feedback"]>[0]) => control.feedback(items)),
    lineage: again((reference: string) => control.lineage(reference)),
  };
}

function again<A extends readonly unknown[], T>(call: (...args: A) => Promise<T>): (...args: A) => Promise<T> {
  return async (...args) => {
    for (const deadline = performance.now() + LIMIT_MS; ; await sleep(PAUSE_MS)) {
      try {
        return await call(...args);
      } catch (error) {
        // What fetch throws when no answer came.
        if (!(error instanceof TypeError) || performance.now() > deadline) throw error;
      }
    }
  };
}
