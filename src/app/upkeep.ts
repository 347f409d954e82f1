import { join } from "node:path";
import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { sweepCheckouts } from "../artifact/cache-sweep.ts";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { adapterArtifact } from "../training/adapters.ts";
import { createEraser } from "../training/eraser.ts";
import { createRetention } from "../training/retention.ts";
import type { RetentionDays } from "../training/retention-notice.ts";
import type { RunFiles } from "../training/run-files.ts";
import { startLoop, type Loop } from "./loop.ts";

/** Between two looks for erasures that others have begun. */
const ERASURES_EVERY_MS = 2_000;
const RETENTION_EVERY_MS = 3_600_000;

/** What the leader does beside its agents: it finishes erasures, whoever began them, and removes what is older than its tenant keeps. */
export function startUpkeep(
  { config, isBusy }: { config: Config; isBusy: (runId: string) => boolean },
  deps: { database: Database; artifacts: ArtifactStore; runFiles: RunFiles; log: Logger; now: () => number },
): Pick<Loop, "wake" | "stop"> {
  const eraser = createEraser(deps);
  const cacheDirectory = join(config.dataDir, "artifact-cache");
  const retention = createRetention(retentionOf(config), {
    ...deps,
    // In a directory adapters are used where they are kept; a bucket's are copied.
    sweepCache:
      config.artifacts.driver === "file"
        ? null
        : ({ beforeMs, keep }) => sweepCheckouts(cacheDirectory, { beforeMs, keep: [...keep].map(adapterArtifact) }),
  });
  const { log } = deps;
  const erasing = startLoop({ name: "upkeep", everyMs: ERASURES_EVERY_MS, log }, () => eraser.finish(isBusy));
  const sweeping = startLoop({ name: "retention", everyMs: RETENTION_EVERY_MS, log }, (signal) => retention.sweep({ signal }));
  return {
    wake: () => erasing.wake(),
    async stop() {
      await Promise.all([erasing.stop(), sweeping.stop()]);
    },
  };
}

function retentionOf({ tenants }: Config): Record<string, RetentionDays> {
  return Object.fromEntries(Object.entries(tenants).map(([tenant, { retention }]) => [tenant, retention]));
}
