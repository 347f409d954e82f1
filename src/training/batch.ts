import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { z } from "zod";
import { digestOf } from "../artifact/digest.ts";
import { nightshiftError } from "../errors.ts";
import { batchManifestSchema, groupLineSchema, type BatchManifest, type GroupLine } from "./batch-schema.ts";
import { handOver, MANIFEST_FILE } from "./hand-over.ts";

export type { BatchManifest, GroupLine, TrainerConfig } from "./batch-schema.ts";

export const GROUPS_FILE = "groups.jsonl.gz";

/**
 * Groups as gzipped JSON lines, in the given order; the same groups give the same bytes.
 * @throws NightshiftError `batch_invalid` naming the group and the path of what the trainer would refuse
 */
export function encodeGroups(groups: readonly GroupLine[]): Uint8Array {
  requireUnique(groups);
  const lines = groups.map((group, index) => `${JSON.stringify(checked(group, index + 1))}\n`);
  const bytes = gzipSync(lines.join(""), { level: 6 });
  // Node writes no time; the operating system's id would make two machines disagree (RFC 1952: 255 is unknown).
  bytes[9] = 255;
  return bytes;
}

/** The marker of batch `iteration`: counts, and the digests of its files. */
function batchManifest(iteration: number, groups: readonly GroupLine[], files: ReadonlyMap<string, Uint8Array>): BatchManifest {
  return {
    version: 1,
    iteration,
    groups: groups.length,
    members: groups.reduce((sum, group) => sum + group.members.length, 0),
    files: Object.fromEntries([...files].map(([name, bytes]) => [name, { sha256: digestOf(bytes), bytes: bytes.byteLength }])),
  };
}

/**
 * Writes `batch-<iteration>/` into a run directory: aside, renamed, the manifest last, so that the trainer sees all of it or none. Writing the same
 * batch again changes nothing; what a crash left without a manifest is replaced. Resolves to the manifest when it is durable.
 * @throws NightshiftError `batch_invalid`; `batch_exists` when another batch of that iteration was handed over
 */
export async function writeBatch(runDirectory: string, iteration: number, groups: readonly GroupLine[]): Promise<BatchManifest> {
  const files = new Map([[GROUPS_FILE, encodeGroups(groups)]]);
  const manifest = batchManifest(iteration, groups, files);
  const directory = join(runDirectory, `batch-${iteration}`);
  const present = await readManifest(directory);
  if (present !== null) {
    if (JSON.stringify(present.files) === JSON.stringify(manifest.files)) return present;
    throw nightshiftError("batch_exists", { directory, found: present.files[GROUPS_FILE]?.sha256 ?? "none" });
  }
  await handOver(directory, files, new TextEncoder().encode(`${JSON.stringify(manifest)}\n`));
  return manifest;
}

function checked(group: GroupLine, line: number): GroupLine {
  const parsed = groupLineSchema.safeParse(group);
  if (parsed.success) return parsed.data;
  throw nightshiftError("batch_invalid", { group: group.group_id, line, problem: firstProblem(parsed.error) }, { cause: parsed.error });
}

/** `path: what is wrong` of the first problem. */
function firstProblem(error: z.ZodError): string {
  const issue = error.issues[0];
  return `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`;
}

function requireUnique(groups: readonly GroupLine[]): void {
  const seen = new Set<string>();
  for (const [index, group] of groups.entries()) {
    for (const name of [`group ${group.group_id}`, ...group.members.map((member) => `rollout ${member.rollout_id}`)]) {
      if (seen.has(name))
        throw nightshiftError("batch_invalid", { group: group.group_id, line: index + 1, problem: `${name} appears twice` });
      seen.add(name);
    }
  }
}

async function readManifest(directory: string): Promise<BatchManifest | null> {
  const text = await readFile(join(directory, MANIFEST_FILE), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (text === null) return null;
  const parsed = batchManifestSchema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw nightshiftError("batch_exists", { directory, found: firstProblem(parsed.error) });
}
