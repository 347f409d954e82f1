import { execFile, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

/** One row of the process table. */
export interface ProcessRow {
  pid: number;
  parentPid: number;
  command: string;
}

/** All processes of the machine, those that are dead and wait for their parent's look left out. */
async function listProcesses(): Promise<ProcessRow[]> {
  const { stdout } = await promisify(execFile)("ps", ["-eo", "pid=,ppid=,stat=,args="], { maxBuffer: 16 * 1024 * 1024 });
  return stdout.split("\n").flatMap((line) => {
    const [, pid, parentPid, state, command] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    if (command === undefined || state?.startsWith("Z") === true) return [];
    return [{ pid: Number(pid), parentPid: Number(parentPid), command }];
  });
}

/** Kills it with no chance to clean up; resolves when it is gone. */
export async function killNow(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/**
 * Resolves to the first answer of `look` that is not null; what it throws counts as null.
 * Rejects after `limitMs`, naming `what` and the last error.
 */
export async function until<T>(
  what: string,
  limitMs: number,
  look: () => Promise<T | null> | T | null,
  everyMs = 100,
): Promise<NonNullable<T>> {
  let last: Error | null = null;
  for (const deadline = performance.now() + limitMs; performance.now() < deadline; await sleep(everyMs)) {
    try {
      const found = await look();
      if (found !== null && found !== undefined) return found;
      last = null;
    } catch (error) {
      last = error instanceof Error ? error : new Error(String(error));
    }
  }
  throw new Error(`${what}: not within ${limitMs} ms${last === null ? "" : ` (${last.message})`}`, { cause: last });
}

/** Watches the children of processes that are killed. */
export interface ChildWatch {
  /** `parentPid` was killed just now: its children must end by themselves. Resolves to the milliseconds that the last one took. */
  orphansOf(children: readonly ProcessRow[], limitMs: number): Promise<number>;
  childrenOf(parentPid: number): Promise<ProcessRow[]>;
  /** Most processes that matched `command` and had a living watched parent, in any look. */
  most(): number;
  /** Ends the watch and kills what is left of what it saw. */
  stop(): Promise<void>;
}

/** @param command What the watched children have in their command line. */
export function watchChildren(command: string): ChildWatch {
  const seen = new Map<number, string>();
  const parents = new Set<number>();
  let most = 0;
  let watching = true;
  const loop = (async (): Promise<void> => {
    for (; watching; await sleep(500)) {
      const rows = await listProcesses();
      const children = rows.filter(({ parentPid }) => parents.has(parentPid));
      for (const { pid, command } of children) seen.set(pid, command);
      most = Math.max(most, children.filter((row) => row.command.includes(command)).length);
    }
  })();
  return {
    async childrenOf(parentPid) {
      parents.add(parentPid);
      const children = (await listProcesses()).filter((row) => row.parentPid === parentPid);
      for (const child of children) seen.set(child.pid, child.command);
      return children;
    },
    async orphansOf(children, limitMs) {
      const since = performance.now();
      await until(
        `children end after their parent: ${children.map(({ pid, command }) => `${pid} ${command}`).join(", ")}`,
        limitMs,
        async () => {
          const rows = await listProcesses();
          return children.some((child) => rows.some(({ pid, command }) => pid === child.pid && command === child.command)) ? null : true;
        },
      );
      return performance.now() - since;
    },
    most: () => most,
    async stop() {
      watching = false;
      await loop;
      for (const { pid, command } of await listProcesses()) {
        if (seen.get(pid) === command) process.kill(pid, "SIGKILL");
      }
    },
  };
}
