// `npm run fixtures [-- SDK…]` records SDKs anew and rewrites the golden files.
import { main } from "./run.mjs";

await main("test/fixtures/rewrite.ts", process.argv.slice(2), { sdks: true });
