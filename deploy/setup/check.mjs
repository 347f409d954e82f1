import { CHECK, runSteps } from "./steps.mjs";

await runSteps(CHECK);
