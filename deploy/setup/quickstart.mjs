import { main } from "./run.mjs";

await main("deploy/quickstart/quickstart.ts", process.argv.slice(2), { python: true });
