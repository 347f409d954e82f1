import { type KeyObject, sign, verify } from "node:crypto";
import canonicalize from "canonicalize";
import { z } from "zod";
import type { Digest } from "./artifact-store.ts";
import { digestOf } from "./digest.ts";
import { keyId } from "./signing-key.ts";

const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/) as unknown as z.ZodType<Digest>;

/** What an adapter is and where it came from. Its digest (of the canonical form) is the adapter's identity everywhere. */
export const adapterManifestSchema = z.strictObject({
  format: z.literal("nightshift-adapter/1"),
  tenant: z.string(),
  agent: z.string().regex(/^[a-z0-9-]{1,40}$/),
  /** Counts an agent's adapters, from 1. */
  number: z.int().positive(),
  baseDigest: digestSchema,
  rank: z.int().positive(),
  runId: z.string(),
  iteration: z.int().min(0),
  parentDigest: digestSchema.nullable(),
  /** Digest of the list of what it learned from (trajectory versions, groups). */
  lineageDigest: digestSchema,
  createdAtMs: z.int(),
  /** The directory's files except manifest and signature, by path. */
  files: z
    .array(z.strictObject({ path: z.string().regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/), bytes: z.int(), digest: digestSchema }))
    .min(1),
});
export type AdapterManifest = z.infer<typeof adapterManifestSchema>;

export const signatureSchema = z.strictObject({ keyId: z.string(), signature: z.string() });
export type ManifestSignature = z.infer<typeof signatureSchema>;

/** File names of the two beside the weights. `manifest.json` is written last: its presence makes the directory an adapter. */
export const MANIFEST_FILE = "manifest.json";
export const SIGNATURE_FILE = "signature.json";

/** sha256 over the RFC 8785 form, files in the order of their paths. */
export function adapterDigest(manifest: AdapterManifest): Digest {
  return digestOf(canonicalManifest(manifest));
}

/** The immutable served name, `<agent>-<number>-<digest[:12]>`. A name is never reused: vLLM keys its prefix cache by it. */
export function adapterName(manifest: AdapterManifest): string {
  return `${manifest.agent}-${manifest.number}-${adapterDigest(manifest).slice("sha256:".length, "sha256:".length + 12)}`;
}

/** The agent of such a name; null for a name that is none. */
export function agentOfAdapter(name: string): string | null {
  return /^([a-z0-9-]{1,40})-\d+-[0-9a-f]{12}$/.exec(name)?.[1] ?? null;
}

/** Signs with ed25519. Only the control service does, after it has checked digests and run. */
export function signManifest(manifest: AdapterManifest, key: { privateKey: KeyObject; publicKey: KeyObject }): ManifestSignature {
  return { keyId: keyId(key.publicKey), signature: sign(null, signedBytes(manifest), key.privateKey).toString("base64") };
}

/** True when one of the public keys made this signature over this manifest. */
export function verifyManifest(manifest: AdapterManifest, signature: ManifestSignature, publicKeys: readonly KeyObject[]): boolean {
  const key = publicKeys.find((candidate) => keyId(candidate) === signature.keyId);
  return key !== undefined && verify(null, signedBytes(manifest), key, Buffer.from(signature.signature, "base64"));
}

/** The prefix keeps a signature from being passed off as one over anything else. */
function signedBytes(manifest: AdapterManifest): Buffer {
  return Buffer.from(`nightshift adapter manifest\n${canonicalManifest(manifest)}`);
}

function canonicalManifest(manifest: AdapterManifest): string {
  const files = manifest.files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  return canonicalize({ ...manifest, files }) ?? "";
}
