import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join, resolve } from "node:path";
import { buffer } from "node:stream/consumers";

const ROOT = resolve(import.meta.dirname, "../../..");
/** What a reader of the guide makes in the checkout, or may. */
const NOT_LINKED = new Set([".git", ".cache", "helm", "secrets", "values.yaml"]);

/** Answers in place of a program that is not here. Resolves to the exit code. */
export type StandIn = (call: { args: readonly string[]; input: Buffer; say: (text: string) => void; gone: AbortSignal }) => Promise<number>;

/** A shell in a checkout, as somebody has it who follows a guide. */
export interface Terminal {
  /** The checkout. */
  readonly directory: string;
  /** Resolves to what the commands printed on stdout. Rejects with everything they said when one of them fails. */
  run(commands: string): Promise<string>;
  /** In another terminal, until `close` or the next one. Resolves when it has said `sign`. */
  leave(commands: string, sign: RegExp): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param options.programs By name, scripts that stand before whatever the machine has under it.
 * @param options.standIns By name, what answers `$STAND_IN NAME …` of those scripts.
 */
export async function openTerminal(options: {
  home: string;
  env: Readonly<Record<string, string>>;
  programs: Readonly<Record<string, string>>;
  standIns: Readonly<Record<string, StandIn>>;
}): Promise<Terminal> {
  const { home } = options;
  const [directory, programs, socket] = [join(home, "checkout"), join(home, "programs"), join(home, "terminal.sock")];
  checkOut(directory);
  mkdirSync(programs);
  for (const [name, script] of Object.entries(options.programs)) {
    writeFileSync(join(programs, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(programs, name), 0o755);
  }
  const server = await serveStandIns(socket, options.standIns);
  const env = {
    PATH: `${programs}:${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`,
    HOME: home,
    STAND_IN: `${process.execPath} --disable-warning=ExperimentalWarning ${join(import.meta.dirname, "stand-in.ts")} ${socket}`,
    ...options.env,
  };
  // A group of its own: what a command left in the background ends with it.
  const start = (commands: string): ChildProcess =>
    spawn("bash", ["-euo", "pipefail", "-c", commands], { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let left: ChildProcess | null = null;
  const endLeft = async (): Promise<void> => {
    if (left?.pid === undefined || left.exitCode !== null || left.signalCode !== null) return;
    const ended = once(left, "close");
    process.kill(-left.pid, "SIGKILL");
    await ended;
  };
  return {
    directory,
    async run(commands) {
      const child = start(commands);
      const said = listenTo(child);
      const [code] = (await once(child, "close")) as [number | null];
      if (code !== 0) throw new Error(`exit code ${code} of\n${commands}\n${said.all}`);
      return said.stdout;
    },
    async leave(commands, sign) {
      await endLeft();
      const child = start(commands);
      left = child;
      const said = listenTo(child);
      const isSaid = new Promise<void>((resolve) => child.stdout?.on("data", () => sign.test(said.stdout) && resolve()));
      const isOver = once(child, "close").then(() => Promise.reject(new Error(`ended:\n${commands}\n${said.all}`)));
      isOver.catch(() => {});
      await Promise.race([isSaid, isOver]);
    },
    async close() {
      await endLeft();
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A chart in a folder of its own, everything else of the working copy by links: `npm install` has been done. */
function checkOut(directory: string): void {
  mkdirSync(directory);
  for (const name of readdirSync(ROOT).filter((name) => !NOT_LINKED.has(name))) symlinkSync(join(ROOT, name), join(directory, name));
  cpSync(join(ROOT, "helm"), join(directory, "helm"), { recursive: true });
}

function listenTo(child: ChildProcess): { stdout: string; all: string } {
  const said = { stdout: "", all: "" };
  child.stdout?.on("data", (chunk: Buffer) => {
    said.stdout += chunk.toString();
    said.all += chunk.toString();
  });
  child.stderr?.on("data", (chunk: Buffer) => (said.all += chunk.toString()));
  return said;
}

async function serveStandIns(socket: string, standIns: Readonly<Record<string, StandIn>>): Promise<ReturnType<typeof createServer>> {
  const server = createServer((asked, answer) => {
    void (async () => {
      const gone = new AbortController();
      answer.on("close", () => gone.abort());
      answer.writeHead(200, { trailer: "x-exit-code" });
      const say = (text: string): void => void answer.write(text);
      let code = 1;
      try {
        const args = JSON.parse(decodeURIComponent(String(asked.headers["x-arguments"]))) as string[];
        const standIn = standIns[asked.url?.slice(1) ?? ""];
        if (standIn === undefined) throw new Error(`nobody stands in for ${asked.url}`);
        code = await standIn({ args, input: await buffer(asked), say, gone: gone.signal });
      } catch (error) {
        say(`${error instanceof Error ? error.message : String(error)}\n`);
      }
      answer.addTrailers({ "x-exit-code": String(code) });
      answer.end();
    })();
  });
  server.listen(socket);
  await once(server, "listening");
  return server;
}
