import { Pool } from "undici";
import { z } from "zod";
import type { BaseStanding } from "../adapter-agent.ts";
import type { Logger } from "../../log.ts";

/** Whether a replica may answer, best first: nothing is known against it; its base is still to be proven; only where no other can. */
export const STANDINGS = ["fit", "pending", "unfit"] as const;
export type Standing = (typeof STANDINGS)[number];

const EVERY_MS = 1_000;
const TIMEOUT_MS = 1_000;

const answerSchema = z.object({ base: z.enum(["proven", "another", "pending", "untested"] satisfies BaseStanding[]) });

/**
 * Asks the adapter agent of a replica once a second whether it may get traffic; `note` hears what changes. While the adapter agent does not answer, what it
 * said last stands: that it is down takes no replica out of service.
 */
export function startReadinessCheck(url: string, deps: { note: (standing: Standing) => void; log: Logger }): { close(): Promise<void> } {
  const { origin, pathname, search } = new URL(url);
  const pool = new Pool(origin, { connections: 1, connect: { timeout: TIMEOUT_MS }, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS });
  let standing: Standing = "fit";
  let isAsking = false;

  async function check(): Promise<Standing> {
    const answer = await pool.request({ method: "GET", path: pathname + search, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const body = answerSchema.safeParse(await answer.body.json());
    if (answer.statusCode === 503 || body.data?.base === "another") return "unfit";
    return body.data?.base === "pending" ? "pending" : "fit";
  }

  async function ask(): Promise<void> {
    if (isAsking) return;
    isAsking = true;
    const next = await check().catch(() => standing);
    isAsking = false;
    if (next === standing) return;
    deps.log.info({ url, was: standing, standing: next }, "replica standing changed");
    standing = next;
    deps.note(next);
  }

  void ask();
  const timer = setInterval(() => void ask(), EVERY_MS).unref();
  return {
    async close() {
      clearInterval(timer);
      await pool.destroy();
    },
  };
}
