import { join } from "node:path";
import { startProgram, type Started } from "../../../deploy/quickstart/processes.ts";
import type { ControlView } from "../../../src/api/views.ts";
import { killNow, until } from "../../e2e/processes.ts";
import { ROOT } from "../../e2e/small-shop.ts";

const MAIN = join(ROOT, "src/cli/main.ts");
const LEADER_LIMIT_MS = 60_000;

/** One running `nightshift serve`. */
export interface Replica extends Started<{ api: string; name: string }> {
  logFile: string;
}

/** Replicas of the control service on one config. */
export interface Replicas {
  readonly running: readonly Replica[];
  start(): Promise<Replica>;
  /** kill -9. */
  kill(replica: Replica): Promise<void>;
  /** The one replica that leads; waits until there is one and all that answer agree on it. */
  leader(): Promise<Replica>;
  killAll(): Promise<void>;
}

export function createReplicas(options: { directory: string; configFile: string }): Replicas {
  const running: Replica[] = [];
  let starts = 0;
  let isOver = false;
  const kill = async (replica: Replica): Promise<void> => {
    running.splice(running.indexOf(replica), 1);
    await killNow(replica.child);
  };
  return {
    running,
    async start() {
      starts += 1;
      const logFile = join(options.directory, `serve-${starts}.log`);
      const args = [MAIN, "serve", "--config", options.configFile, "--json"];
      const started = await startProgram<Replica["ready"]>({ name: "serve", args, env: { NIGHTSHIFT_API__PORT: "0" }, logFile });
      const replica = { ...started, logFile };
      running.push(replica);
      // A test that failed in the middle has cleaned up by now.
      if (isOver) await kill(replica);
      return replica;
    },
    kill,
    leader: () =>
      until("one leader, known to all", LEADER_LIMIT_MS, async () => {
        const views = await Promise.all(running.map(async (replica) => ({ replica, view: await controlOf(replica).catch(() => null) })));
        const leading = views.filter(({ view }) => view?.role === "leader");
        const name = leading[0]?.replica.ready.name;
        return leading.length === 1 && views.every(({ view }) => view?.leader?.name === name) ? (leading[0]?.replica ?? null) : null;
      }),
    async killAll() {
      isOver = true;
      for (const replica of [...running]) await kill(replica);
    },
  };
}

/** Who leads, as one replica sees it. Rejects while it does not see the database. */
export async function controlOf({ ready }: Replica): Promise<ControlView> {
  const response = await fetch(`${ready.api}/v1/status`);
  if (!response.ok) throw new Error(`${ready.api}/v1/status answered ${response.status}`);
  return ((await response.json()) as { control: ControlView }).control;
}
