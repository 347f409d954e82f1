import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runTool } from "./part.ts";

/** A certificate for `localhost` that is its own authority, valid for a day. */
export interface Certificate {
  /** PEM file: the authority that clients are to trust. */
  caFile: string;
  /** PEM file: private key (PKCS 8) and certificate. */
  keyAndCertificate: string;
}

/** Makes one in `directory`, with openssl. */
export async function makeCertificate(directory: string): Promise<Certificate> {
  const [keyFile, caFile, keyAndCertificate] = ["key.pem", "ca.pem", "server.pem"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", ...subject, "-keyout", keyFile, "-out", caFile];
  await runTool("openssl", args, { problem: "no certificate could be made", fix: "Install openssl." });
  writeFileSync(keyAndCertificate, readFileSync(keyFile, "utf8") + readFileSync(caFile, "utf8"));
  return { caFile, keyAndCertificate };
}
