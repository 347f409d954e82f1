/** What runs in the terminal of terminal.ts under the name of a program that is not here: hands its arguments and its input over, prints what comes back, and ends as it is told. */
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";

const [socketPath = "", name = "", ...args] = process.argv.slice(2);
const headers = { "x-arguments": encodeURIComponent(JSON.stringify(args)) };
const asked = request({ socketPath, method: "POST", path: `/${name}`, headers });
asked.end(await buffer(process.stdin));
const [answer] = (await once(asked, "response")) as [IncomingMessage];
for await (const chunk of answer) process.stdout.write(chunk as Buffer);
process.exitCode = Number(answer.trailers["x-exit-code"] ?? "1");
