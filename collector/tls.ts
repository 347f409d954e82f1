import { readFileSync } from "node:fs";
import type { Server } from "node:tls";
import type { Config } from "../src/config.ts";
import { nightshiftError } from "../src/errors.ts";
import type { Logger } from "../src/log.ts";

/** What node:tls needs to present a certificate, and to ask for one where a client's must be signed by `ca`. */
export interface TlsMaterial {
  cert: string;
  key: string;
  ca?: string;
  requestCert?: true;
  rejectUnauthorized?: true;
}

type TlsFiles = NonNullable<Config["collector"]["tls"]>;

/** Certificates live for weeks, mounted files change within a minute of their renewal. */
const RELOAD_MS = 60_000;

/** @throws NightshiftError `collector_file_unreadable` */
export function readTls({ certFile, keyFile, clientCaFile }: TlsFiles): TlsMaterial {
  const material = { cert: readText(certFile), key: readText(keyFile) };
  return clientCaFile === undefined ? material : { ...material, ca: readText(clientCaFile), requestCert: true, rejectUnauthorized: true };
}

/**
 * Gives renewed files to the running servers; connections that stand keep what they began with. Files that cannot be read or do not fit together are logged, and the old
 * certificate goes on. The returned function ends it.
 */
export function reloadTls(
  files: TlsFiles,
  servers: readonly Pick<Server, "setSecureContext">[],
  log: Logger,
  everyMs = RELOAD_MS,
): () => void {
  let current = JSON.stringify(readTls(files));
  const timer = setInterval(() => {
    try {
      const material = readTls(files);
      const next = JSON.stringify(material);
      if (next === current) return;
      for (const server of servers) server.setSecureContext(material);
      current = next;
      log.info({ certFile: files.certFile }, "TLS certificate reloaded");
    } catch (error) {
      log.error({ err: error, certFile: files.certFile }, "TLS certificate not reloaded, the old one goes on");
    }
  }, everyMs);
  return () => clearInterval(timer);
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw nightshiftError(
      "collector_file_unreadable",
      { file, problem: cause instanceof Error ? cause.message : String(cause) },
      { cause },
    );
  }
}
