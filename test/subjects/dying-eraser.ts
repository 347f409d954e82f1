import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { join } from "node:path";
import { silentLog } from "../../src/log.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { subjectWorld } from "./world.ts";

/** Child process of the kill test: takes a conversation in, plays it, begins to erase it, and stays in the middle until it is killed. Arguments: directory, secret. */
const [directory = "", secret = ""] = process.argv.slice(2);
const database = await createPglite({ dir: join(directory, "store"), log: silentLog() });
await database.migrate();
const files = createFileArtifactStore({ dir: join(directory, "artifacts") });
const artifacts = {
  ...files,
  delete: () => {
    process.send?.("in the middle");
    return new Promise<void>(() => undefined);
  },
};
const world = await subjectWorld(database, directory, { artifacts });
const anna = await world.talk("xq-anneliese", secret);
const ben = await world.talk("ben", "my kettle sings");
await world.feedback("chat-xq-anneliese", secret);
await world.runs.create({ id: "run-1", tenant: "default", agent: "shop", plan: {}, nowMs: world.clock.nowMs });
await world.playGroup({ runId: "run-1", iteration: 1 }, anna, { says: secret });
await world.playGroup({ runId: "run-1", iteration: 2 }, ben, { says: "the kettle" });
process.send?.("seeded");
await world.eraser.erase({ tenant: "default", subjects: ["xq-anneliese"], actor: "tester" });
