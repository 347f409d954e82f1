import { createRandom } from "../../deploy/quickstart/random.ts";
import { begin, finished, note, type ForeignEvent, type Open, type Recorded } from "./conversation.ts";
import type { Policy, Task, WorldCall, WorldKind } from "./world.ts";

interface Served {
  open: Open;
  run: ReturnType<Policy>;
  answers: readonly string[];
}

/**
 * Records conversations on one world, several open at once, with somebody changing the world in the background. Where the world has a release, it goes
 * live when half of them have begun. `tasks`: so many tasks, each asked again and again; without it every conversation has one of its own.
 */
export function record(
  kind: WorldKind,
  options: { seed: number; conversations: number; open?: number; background?: number; policy?: Policy; tasks?: number },
): readonly Recorded[] {
  const random = createRandom("record", kind.name, options.seed);
  const world = kind.create(options.seed);
  const tasks = Array.from({ length: options.tasks ?? 0 }, () => kind.task(random));
  const open: Served[] = [];
  const done: Recorded[] = [];
  let clockMs = 1_700_000_000_000;
  let started = 0;
  let released = false;
  const tell = (event: ForeignEvent, except: Served | null): void => {
    for (const one of open) if (one !== except) one.open.foreign.push(event);
  };
  while (done.length < options.conversations) {
    clockMs += random.integer(50, 5_000);
    if (random.chance(options.background ?? 0.05)) {
      const event = backgroundEvent(kind, random.integer(0, 2 ** 30));
      event(world);
      tell(event, null);
    }
    if (started * 2 === options.conversations && !released) {
      released = true;
      world.release();
      tell((other) => other.release(), null);
    }
    if (started < options.conversations && open.length < (options.open ?? 2) && random.chance(0.5)) {
      const task = tasks.length > 0 ? random.pick(tasks) : kind.task(random);
      const run = (options.policy ?? kind.policy)(task, createRandom("policy", started, random.integer(0, 2 ** 30)));
      open.push({ open: begin(kind, task, world, { id: started, clockMs, released }), run, answers: [] });
      started += 1;
    }
    if (open.length === 0) continue;
    const current = random.pick(open);
    const next = current.run.next(current.answers);
    if (next.done === true) {
      open.splice(open.indexOf(current), 1);
      done.push(finished(kind, current.open, next.value, clockMs));
      continue;
    }
    const calls = next.value.map(current.open.spelled);
    current.answers = calls.map((call) => {
      clockMs += 20;
      if (kind.writes.has(call.tool)) tell((other) => void other.call(call.tool, call.args), current);
      return world.call(call.tool, call.args);
    });
    note(current.open, calls, current.answers, clockMs);
  }
  return done;
}

function backgroundEvent(kind: WorldKind, seed: number): ForeignEvent {
  return (world) => world.background(createRandom("background", kind.name, seed));
}

/** What somebody else does in between, unrecorded. */
export interface Meanwhile {
  event: ForeignEvent;
  /** The world's next version goes live here. */
  isRelease?: boolean;
}

export interface Stage {
  message: string;
  ids?: Task["ids"];
  steps: readonly (WorldCall | Meanwhile)[];
}

/** Records conversations as written down, one after the other on one world; every call is a turn. */
export function staged(kind: WorldKind, seed: number, stages: readonly Stage[]): readonly Recorded[] {
  const world = kind.create(seed);
  let clockMs = 1_800_000_000_000;
  let released = false;
  return stages.map(({ message, ids, steps }, index) => {
    const task: Task = { user: `u${index}`, kind: "staged", message, ids: ids ?? {} };
    const open = begin(kind, task, world, { id: 9_000 + index, clockMs, released });
    for (const step of steps) {
      clockMs += 1_000;
      if ("event" in step) {
        step.event(world);
        open.foreign.push(step.event);
        released ||= step.isRelease === true;
        continue;
      }
      const call = open.spelled(step);
      note(open, [call], [world.call(call.tool, call.args)], clockMs);
    }
    clockMs += 10_000;
    return finished(kind, open, "Done.", clockMs);
  });
}
