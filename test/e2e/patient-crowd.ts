import { setTimeout as sleep } from "node:timers/promises";
import type { Control } from "../../deploy/quickstart/control.ts";
import { serveCrowd } from "../../deploy/quickstart/crowd.ts";
import type { Customer } from "../../deploy/quickstart/customers.ts";
import { until } from "./processes.ts";

const TOGETHER = 6;
const OUTAGE_LIMIT_MS = 90_000;

/**
 * Serves customers a few at a time until `isOver`; new ones wait while Nightshift does not answer, those in conversation when it dies get the agent's apology.
 * Every outcome is told, however often that takes. Resolves to the number of conversations.
 */
export async function servePatiently(
  customers: readonly Customer[],
  at: { agentUrl: string; shopUrl: string; control: Control; name: string; isOver: () => boolean },
): Promise<number> {
  const outbox: { conversationId: string; success: boolean }[] = [];
  let open = true;
  let served = 0;
  const telling = (async (): Promise<void> => {
    while (open || outbox.length > 0) {
      const batch = outbox.slice(0, 50);
      const isTold =
        batch.length > 0 &&
        (await at.control.feedback(batch).then(
          () => true,
          () => false,
        ));
      if (isTold) outbox.splice(0, batch.length);
      else await sleep(200);
    }
  })();
  try {
    for (let from = 0; from < customers.length && !at.isOver(); from += TOGETHER) {
      await until("Nightshift answers", OUTAGE_LIMIT_MS, () => at.control.status());
      await serveCrowd({
        ...{ agentUrl: at.agentUrl, shopUrl: at.shopUrl, name: at.name, concurrency: TOGETHER, comeBack: true },
        customers: customers.slice(from, from + TOGETHER),
        onServed: ({ conversationId, outcome }) => {
          served += 1;
          outbox.push({ conversationId, success: outcome.success });
        },
      });
    }
  } finally {
    open = false;
  }
  await telling;
  return served;
}
