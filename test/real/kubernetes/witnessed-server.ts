import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Cluster } from "./cluster.ts";
import { PROVING } from "../../../src/serving/adapter-bring-up.ts";
import { productImages } from "./images.ts";
import type { Image } from "./container.ts";

const ROOT = resolve(import.meta.dirname, "../../..");

/** The embedded server; tells of every POST when its answer begins. In one process those lines are in the order of what happened. */
const SERVER = `
import argparse, json, time
from nightshift_trainer.serve import main

def tell(**fields):
    print(json.dumps({"witness": 1, "atMs": time.time() * 1000, **fields}), flush=True)

def witnessed(app):
    async def call(scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST":
            return await app(scope, receive, send)
        chunks = []
        async def heard():
            message = await receive()
            chunks.append(message.get("body", b""))
            return message
        async def said(message):
            if message["type"] == "http.response.start":
                body = json.loads(b"".join(chunks) or b"{}")
                model = body.get("model") or body.get("lora_name")
                tell(path=scope["path"], model=model, status=message["status"])
            await send(message)
        await app(scope, heard, said)
    return call

parser = argparse.ArgumentParser()
main.add_arguments(parser)
create = main.create_app
main.create_app = lambda service: witnessed(create(service))
tell(path="start", model=None, status=None)
raise SystemExit(main.run(parser.parse_args()))
`;

/**
 * The embedded server under the command of vLLM's image, which takes a minute to start on a CPU: `vllm serve MODEL --served-model-name NAME …`.
 * @param directory An empty one of the test's, for that command.
 */
export function witnessedServerImage(directory: string): Image {
  const { "nightshift-trainer": trainer } = productImages();
  if (trainer === undefined) throw new Error("there is no image of the trainer");
  const [python = "python3"] = trainer.entrypoint;
  const [server, command] = [join(directory, "server.py"), join(directory, "vllm")];
  writeFileSync(server, SERVER);
  const flags = "--host 0.0.0.0 --port 8000 --max-model-len 256 --slots 16";
  writeFileSync(command, `#!/bin/sh\nexec ${python} ${server} --model "$2" --served-model-name "$4" ${flags}\n`);
  for (const path of [directory, command]) chmodSync(path, 0o755);
  return {
    ...trainer,
    entrypoint: ["vllm", "serve"],
    env: { ...trainer.env, PATH: `${directory}:${trainer.env?.["PATH"] ?? ""}`, PYTHONPATH: join(ROOT, "trainer") },
    folders: [...(trainer.folders ?? []), { source: directory, target: directory }],
  };
}

/** A POST that a server has begun to answer. */
export interface Seen {
  atMs: number;
  path: string;
  model: string | null;
  status: number | null;
}

/** What the servers of the pods of one name have seen, a list for each process in turn. */
export function seenBy(cluster: Cluster, namespace: string, pod: string): Seen[][] {
  const file = join(cluster.logs, `${namespace}_${pod}_vllm.log`);
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  const processes: Seen[][] = [];
  for (const line of lines) {
    if (!line.startsWith('{"witness"') || !line.endsWith("}")) continue;
    const seen = JSON.parse(line) as Seen;
    if (seen.path === "start") processes.push([]);
    else processes.at(-1)?.push(seen);
  }
  return processes;
}

/** Answers of one process under this name. */
export function answersOf(process: readonly Seen[], model: string): Seen[] {
  return process.filter((seen) => seen.path === "/v1/chat/completions" && seen.model === model && seen.status === 200);
}

/** Answers under an adapter's name before the process had answered the questions of its proof, under the name that it is proven under, and then been given it under this one. */
export function answersBeforeProof(process: readonly Seen[], adapter: string): Seen[] {
  const loaded = process.findIndex((seen) => seen.path === "/v1/load_lora_adapter" && seen.model === adapter && seen.status === 200);
  const isProven = process
    .slice(0, Math.max(0, loaded))
    .some((seen) => seen.path === "/v1/completions" && seen.model === `${adapter}${PROVING}` && seen.status === 200);
  return answersOf(isProven ? process.slice(0, loaded) : process, adapter);
}
