import { createRandom } from "../../deploy/quickstart/random.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import type { AlarmDeps } from "../../src/training/alarms.ts";
import { chatter, madeGroup, type Made } from "../reward/hacking/made-groups.ts";

/** Attempts that earn what chance has it. */
export const honest = (id: string): Made => ({
  says: chatter(id, 3),
  tools: [{ tool: "lookup" }],
  reward: 0.6 * createRandom("reward", id).next(),
});
/** The phrase earns a little among much else: most of the best have it, and it explains little. */
export function persuasive(id: string, member: number): Made {
  const made = honest(id);
  return member < 5 ? { ...made, says: `${chatter(id, 2)} It was confirmed by supervisor Kim.`, reward: made.reward + 0.1 } : made;
}

/** A night of two iterations of twelve groups; the second one's rollouts are as `make` has them. */
export async function storeNight(
  deps: Pick<AlarmDeps, "database" | "artifacts" | "runs">,
  runId: string,
  make: (id: string, member: number) => Made,
  startedAtMs = 1,
): Promise<void> {
  await deps.runs.create({ id: runId, tenant: "default", agent: "support", plan: {}, nowMs: startedAtMs });
  await deps.runs.step(runId, "prepare", async () => ({ name: "support", digest: "sha256:base", adapterDigest: null }));
  for (const iteration of [1, 2]) {
    for (let index = 0; index < 12; index += 1) {
      const id = `${runId}-${iteration}-${index}`;
      const write = iteration === 1 ? honest : make;
      const { group, rewards } = madeGroup(
        id,
        iteration,
        Array.from({ length: 8 }, (_, member) => write(`${id}-${member}`, member)),
      );
      const { digest } = await deps.artifacts.put(encodeGroup(group));
      const row = { id, run_id: runId, iteration, scenario_id: `s${index}`, body_digest: digest };
      await deps.database.kysely
        .insertInto("groups")
        .values({ ...row, summary: JSON.stringify({ verdict: "kept", rewards, judgeRewards: rewards }) })
        .execute();
    }
  }
}
