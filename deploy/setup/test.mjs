import { CHECK, END_TO_END, runSteps } from "./steps.mjs";

await runSteps(CHECK, END_TO_END);
