import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { replaceSynced } from "../artifact/durable-file.ts";
import type { Logger } from "../log.ts";
import type { ControlClient } from "./control-client.ts";
import { holdReplicas, toldReplicasSchema, type ReplicaSource } from "./replica-source.ts";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/**
 * An agent's replicas as the control service tells them, for gateways, which have no rights in Kubernetes. What was told last is kept in `file`, in an existing
 * directory: a gateway that starts while the control service is down serves on.
 */
export async function createPolledReplicas(
  { agent, file, waitMs }: { agent: string; file: string; waitMs: number },
  { control, log }: { control: Pick<ControlClient, "replicas">; log: Logger },
): Promise<ReplicaSource & { poll(signal: AbortSignal): Promise<void> }> {
  const held = holdReplicas();
  let version: string | null = null;
  const kept = await readKept(file, log);
  if (kept?.agent === agent) held.set(kept.replicas);

  async function pollOnce(signal: AbortSignal): Promise<void> {
    const told = await control.replicas(agent, { known: version, waitMs }, signal);
    if (told === null) return;
    if (told.agent !== agent) throw new Error("the control service answered for another agent");
    version = told.version;
    held.set(told.replicas);
    await keep(file, JSON.stringify(told), log);
  }

  return {
    current: () => held.current(),
    subscribe: (listener) => held.subscribe(listener),
    async poll(signal) {
      let pauseMs = 0;
      while (!signal.aborted) {
        try {
          await pollOnce(signal);
          pauseMs = 0;
        } catch (cause) {
          if (signal.aborted) return;
          if (pauseMs === 0) log.warn({ agent, err: cause }, "replicas not heard of");
          pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, pauseMs * 2));
          await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
        }
      }
    },
  };
}

async function readKept(file: string, log: Logger) {
  try {
    return toldReplicasSchema.parse(JSON.parse(await readFile(file, "utf8")));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") log.warn({ file, err: cause }, "kept replicas not readable");
    return null;
  }
}

async function keep(file: string, text: string, log: Logger): Promise<void> {
  try {
    await replaceSynced(file, Buffer.from(text));
  } catch (cause) {
    log.error({ file, err: cause }, "replicas not kept");
  }
}
