import { z } from "zod";
import type { BaseStanding } from "../adapter-agent.ts";
import type { Logger } from "../../log.ts";

/** Whether a replica may answer, best first: nothing is known against it; its base is still to be proven; only where no other can. */
export const STANDINGS = ["fit", "pending", "unfit"] as const;
export type Standing = (typeof STANDINGS)[number];

const EVERY_MS = 1_000;
const TIMEOUT_MS = 1_000;

const answerSchema = z.object({
  reason: z.string().max(1_000).optional(),
  base: z.enum(["proven", "another", "pending", "untested"] satisfies BaseStanding[]),
});

/** What an adapter agent says of its replica. */
export interface ToldReadiness {
  isReady: boolean;
  /** Why it is not. */
  reason: string | null;
  base: BaseStanding;
}

/** Asks once. Rejects when no adapter agent answers there in time. */
export async function askReadiness(url: string, timeoutMs: number): Promise<ToldReadiness> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
  const told = answerSchema.safeParse(await answer.json());
  if (!told.success) throw new Error(`HTTP ${answer.status} without an adapter agent's words`);
  const { reason = null, base } = told.data;
  return { isReady: answer.ok, reason, base };
}

/**
 * Asks the adapter agent of a replica once a second whether it may get traffic; `note` hears what changes. While the adapter agent does not answer, what it
 * said last stands: that it is down takes no replica out of service.
 */
export function startReadinessCheck(url: string, deps: { note: (standing: Standing) => void; log: Logger }): { close(): void } {
  let standing: Standing = "fit";
  let isAsking = false;
  let isClosed = false;

  async function check(): Promise<Standing> {
    const { isReady, base } = await askReadiness(url, TIMEOUT_MS);
    if (!isReady || base === "another") return "unfit";
    return base === "pending" ? "pending" : "fit";
  }

  async function ask(): Promise<void> {
    if (isAsking) return;
    isAsking = true;
    const next = await check().catch(() => standing);
    isAsking = false;
    if (next === standing || isClosed) return;
    deps.log.info({ url, was: standing, standing: next }, "replica standing changed");
    standing = next;
    deps.note(next);
  }

  void ask();
  const timer = setInterval(() => void ask(), EVERY_MS).unref();
  return {
    close() {
      isClosed = true;
      clearInterval(timer);
    },
  };
}
