import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { generate } from "selfsigned";
import { Agent, fetch } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readTls, reloadTls } from "../../collector/tls.ts";
import { silentLog } from "../../src/log.ts";
import { protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { startCapture } from "./capture.ts";
import { connectGrpc } from "./grpc-client.ts";

const BODY = protobuf(traceRequest([spanJson()]));
const cleanups: (() => unknown)[] = [];
let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "nightshift-tls-"));
  cleanups.push(() => rmSync(directory, { recursive: true }));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface Pair {
  certFile: string;
  keyFile: string;
  cert: string;
  key: string;
}

/** A certificate for 127.0.0.1 that is its own authority, and its key, as text and as files. */
async function makePair(name: string): Promise<Pair> {
  const made = await generate([{ name: "commonName", value: name }], {
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] },
    ],
  });
  const pair = { certFile: join(directory, `${name}.crt`), keyFile: join(directory, `${name}.key`), cert: made.cert, key: made.private };
  writeFileSync(pair.certFile, pair.cert);
  writeFileSync(pair.keyFile, pair.key);
  return pair;
}

const filesOf = ({ certFile, keyFile }: Pair) => ({ certFile, keyFile });

async function post(url: string, tls: { ca: string; cert?: string; key?: string }): Promise<number> {
  const dispatcher = new Agent({ connect: tls });
  cleanups.push(() => dispatcher.close());
  const response = await fetch(`${url}/v1/traces`, {
    method: "POST",
    body: BODY,
    headers: { "content-type": "application/x-protobuf" },
    dispatcher,
  });
  await response.arrayBuffer();
  return response.status;
}

test("both protocols speak TLS with the certificate of the files", async () => {
  const pair = await makePair("collector");
  const capture = await startCapture({ collector: { tls: filesOf(pair) } });
  cleanups.push(() => capture.close());
  const client = connectGrpc(capture.grpcPort, { channel: credentials.createSsl(Buffer.from(pair.cert)) });
  cleanups.push(() => client.close());
  expect(await post(capture.url, { ca: pair.cert })).toBe(200);
  expect(await client.call("traces", BODY)).toMatchObject({ code: 0 });
  expect(capture.records).toHaveLength(2);
  await expect(fetch(capture.url.replace("https", "http"))).rejects.toThrow("fetch failed");
});

test("with a client authority, only who brings a certificate of its may connect", async () => {
  const [pair, client, stranger] = [await makePair("collector"), await makePair("client"), await makePair("stranger")];
  const capture = await startCapture({ collector: { tls: { ...filesOf(pair), clientCaFile: client.certFile } } });
  cleanups.push(() => capture.close());
  expect(await post(capture.url, { ca: pair.cert, cert: client.cert, key: client.key })).toBe(200);
  await expect(post(capture.url, { ca: pair.cert })).rejects.toThrow("fetch failed");
  await expect(post(capture.url, { ca: pair.cert, cert: stranger.cert, key: stranger.key })).rejects.toThrow("fetch failed");
  const grpc = (tls: Parameters<typeof credentials.createSsl>) => {
    const made = connectGrpc(capture.grpcPort, { channel: credentials.createSsl(...tls) });
    cleanups.push(() => made.close());
    return made.call("traces", BODY);
  };
  const ca = Buffer.from(pair.cert);
  expect(await grpc([ca, Buffer.from(client.key), Buffer.from(client.cert)])).toMatchObject({ code: 0 });
  expect(await grpc([ca])).toMatchObject({ code: 14 });
  expect(capture.records).toHaveLength(2);
});

test("files that do not fit are said at the start", async () => {
  const [pair, other] = [await makePair("one"), await makePair("other")];
  await expect(startCapture({ collector: { tls: { certFile: pair.certFile, keyFile: other.keyFile } } })).rejects.toMatchObject({
    code: "collector_tls_invalid",
  });
  const missing = join(directory, "missing.crt");
  await expect(startCapture({ collector: { tls: { certFile: missing, keyFile: pair.keyFile } } })).rejects.toMatchObject({
    code: "collector_file_unreadable",
    message: expect.stringContaining(missing) as string,
  });
});

/** Name in the certificate that a server presents now. */
function presented(server: Server): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject["CN"]));
      socket.end();
    });
    socket.on("error", reject);
  });
}

test("renewed files are taken up; broken ones leave the old certificate standing", async () => {
  const [old, renewed] = [await makePair("old"), await makePair("renewed")];
  const files = filesOf(old);
  const server = createServer(readTls(files));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => server.close());
  cleanups.push(reloadTls(files, [server], silentLog(), 5));
  expect(await presented(server)).toBe("old");
  // The key comes a moment after the certificate: in between the two do not fit.
  writeFileSync(files.certFile, renewed.cert);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(await presented(server)).toBe("old");
  writeFileSync(files.keyFile, renewed.key);
  await expect.poll(() => presented(server)).toBe("renewed");
});
