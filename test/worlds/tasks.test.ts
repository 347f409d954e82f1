import { describe, expect, it } from "vitest";
import { createRandom } from "../../deploy/quickstart/random.ts";
import { attempted, closing, freeCancellation } from "./tasks.ts";
import type { Policy, Task, World } from "./world.ts";

describe.each([
  { name: "free cancellation", family: freeCancellation },
  { name: "closing", family: closing },
])("$name", ({ family }) => {
  const random = createRandom("tasks", family.kind.name);
  const worlds = Array.from({ length: 10 }, (_, seed) => family.kind.create(seed));
  const asked: { task: Task; world: World }[] = [];
  while (asked.length < 200) {
    const world = random.pick(worlds);
    const task = family.draw(world, random);
    if (task !== null) asked.push({ task, world });
  }
  const share = (policy: keyof typeof family.policies): number =>
    asked.filter(({ task, world }, index) => attempted(family, family.policies[policy], task, world, createRandom(policy, index))).length /
    asked.length;

  it("goes wrong about half of the time until it is done otherwise", () => {
    const [stable, better, best] = [share("stable"), share("better"), share("best")];
    process.stdout.write(`${family.kind.name}, success: stable ${stable}, better ${better}, best ${best}\n`);
    expect(stable).toBeGreaterThan(0.4);
    expect(stable).toBeLessThan(0.6);
    expect(better).toBeGreaterThan(stable + 0.1);
    expect(best).toBeGreaterThan(0.95);
  });

  it("has users and clusters enough to hold some back", () => {
    expect(new Set(asked.map(({ task }) => family.cluster(task))).size).toBeGreaterThanOrEqual(8);
    expect(new Set(asked.map(({ task }) => task.user)).size).toBeGreaterThanOrEqual(15);
  });

  it("is not fulfilled by a reply alone, and leaves the world that was asked about alone", () => {
    const says: Policy = function* liar({ ids }) {
      yield [];
      return `${ids["bookingId"] ?? ids["ticketId"] ?? ""} is cancelled. It is closed.`;
    };
    const before = asked.map(({ world }) => world.fingerprint());
    const fooled = asked.filter(({ task, world }) => attempted(family, says, task, world, random));
    expect(fooled).toEqual([]);
    expect(asked.map(({ world }) => world.fingerprint())).toEqual(before);
  });
});
