import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { makeDirectory, renameSynced, writeSynced, writingAside } from "../artifact/durable-file.ts";
import type { Logger } from "../log.ts";
import { desiredAdaptersSchema, type DesiredAdapters } from "./desired-adapters.ts";

const fileSchema = z.strictObject({ desired: z.array(desiredAdaptersSchema) });

/** The desired sets that were last heard, on disk: a replica that starts while the control service is down still comes up with its adapters. */
export interface DesiredCache {
  read(): Promise<readonly DesiredAdapters[]>;
  /** Replaces the file. What cannot be written is logged: it costs a start without the control service, not the adapters of now. */
  write(desired: readonly DesiredAdapters[]): Promise<void>;
}

export function createDesiredCache(file: string, { log }: { log: Logger }): DesiredCache {
  return {
    async read() {
      try {
        return fileSchema.parse(JSON.parse(await readFile(file, "utf8"))).desired;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== "ENOENT") log.warn({ file, err: cause }, "cached desired adapters not readable");
        return [];
      }
    },
    async write(desired) {
      const aside = `${file}.${randomUUID()}`;
      try {
        await makeDirectory(dirname(file));
        await writingAside(aside, "the desired adapters", async () => {
          await writeSynced(aside, Buffer.from(JSON.stringify({ desired })));
          await renameSynced(aside, file);
        });
      } catch (cause) {
        log.error({ file, err: cause }, "desired adapters not cached");
      }
    },
  };
}
