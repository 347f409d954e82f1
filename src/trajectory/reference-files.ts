import { constants } from "node:fs";
import { open, realpath } from "node:fs/promises";
import { sep } from "node:path";
import { fileURLToPath } from "node:url";
import { redactText, Unredactable } from "../trace/redact.ts";
import type { ReferenceReader } from "./references.ts";

export interface ReferenceFiles {
  /** `file:` URLs of directories by tenant; what lies elsewhere is not read. */
  prefixesOf: (tenant: string) => readonly string[];
  keyOf: (tenant: string) => Uint8Array;
  maxBytes: number;
}

/** Not there, or not ours to read: no repetition changes that. */
const GONE: ReadonlySet<string> = new Set([
  "ENOENT",
  "ENOTDIR",
  "EISDIR",
  "EACCES",
  "EPERM",
  "ELOOP",
  "ENAMETOOLONG",
  "ERR_INVALID_ARG_VALUE",
]);

/**
 * References to files. An address comes with telemetry, from anybody who may send some: only what really lies below a prefix is opened, symbolic links followed first, and what is read is redacted
 * with the tenant's key, since no collector has seen it.
 */
export function createReferenceFiles({ prefixesOf, keyOf, maxBytes }: ReferenceFiles): ReferenceReader {
  return {
    async read(tenant, address) {
      const prefixes = prefixesOf(tenant);
      const path = prefixes.length === 0 ? null : pathOf(address);
      if (path === null) return null;
      try {
        const real = await realpath(path);
        const allowed = await Promise.all(prefixes.map((prefix) => realpath(fileURLToPath(prefix)).catch(() => null)));
        if (!allowed.some((directory) => directory !== null && real.startsWith(directory.endsWith(sep) ? directory : directory + sep)))
          return null;
        const text = await readText(real, maxBytes);
        return text === null ? null : await redactText(asOneValue(text), keyOf(tenant));
      } catch (error) {
        if (error instanceof Unredactable || GONE.has((error as NodeJS.ErrnoException).code ?? "")) return null;
        throw error;
      }
    },
  };
}

/** The path of a `file:` URL of this machine, or of a plain absolute path, as fsspec writes local ones; null for every other address. */
function pathOf(address: string): string | null {
  if (address.startsWith("/") && !address.startsWith("//")) return address;
  const url = URL.parse(address);
  if (url === null || url.protocol !== "file:" || url.host !== "") return null;
  try {
    return fileURLToPath(url);
  } catch {
    return null;
  }
}

async function readText(path: string, maxBytes: number): Promise<string | null> {
  // Not to wait on a pipe that somebody put there.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const about = await handle.stat();
    if (!about.isFile() || about.size > maxBytes) return null;
    return new TextDecoder("utf-8", { fatal: true }).decode(await handle.readFile());
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  } finally {
    await handle.close();
  }
}

/** The hook writes JSON, or one message per line. */
function asOneValue(text: string): string {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.length > 1 && lines.every(isJson) ? `[${lines.join(",")}]` : text;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
