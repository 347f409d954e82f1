import { z } from "zod";

const signing = {
  signingKeyFile: z
    .string()
    .optional()
    .describe(
      "Private key that the control service signs adapters with (ed25519, PEM; `nightshift key` makes a pair). Unset: one is made in `keys` below dataDir, which replicas of `serve` must share then.",
    ),
};

const s3Artifacts = z.strictObject({
  driver: z.literal("s3"),
  ...signing,
  endpoint: z.url().optional().describe("Base URL of an S3-compatible server. Unset: Amazon's for the region."),
  region: z
    .string()
    .min(1)
    .default("us-east-1")
    .describe("Region that requests are signed for; other servers than Amazon's often take any."),
  bucket: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "not the name of a bucket")
    .describe("Bucket, which exists already."),
  prefix: z
    .string()
    .regex(/^(?:[A-Za-z0-9._-]+\/)*$/, "a prefix is empty or ends with a slash")
    .default("")
    .describe("What every key begins with, such as `nightshift/`."),
  pathStyle: z
    .boolean()
    .optional()
    .describe(
      "Bucket in the path instead of the host name. Unset: yes where an endpoint is set, which most servers besides Amazon's need.",
    ),
  caFile: z.string().optional().describe("PEM file with the endpoint's certificate authority. Unset: the system's."),
  accessKeyIdFile: z
    .string()
    .optional()
    .describe("File with the access key's id. Unset: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the environment."),
  secretAccessKeyFile: z.string().optional().describe("File with the secret access key; both files are read again every five minutes."),
  sessionTokenFile: z.string().optional().describe("File with the session token of temporary credentials."),
  timeoutMs: z.int().min(100).default(10_000).describe("Longest silence of the store, while connecting and while answering."),
  attempts: z.int().min(1).max(10).default(4).describe("Tries of one request before whoever made it is told; they wait and come again."),
  maxObjectBytes: z
    .int()
    .min(1024)
    .max(2 ** 31 - 1)
    .default(2 ** 30)
    .describe("Largest object. Objects are sent in one request and are held in memory; a larger one is refused before it is sent."),
});

export const artifactsSchema = z
  .discriminatedUnion("driver", [z.strictObject({ driver: z.literal("file"), ...signing }), s3Artifacts])
  .prefault({ driver: "file" })
  .describe("Where adapters, batches and group files live.");

export type S3Config = z.infer<typeof s3Artifacts>;

/** Base URL of the store. */
export function s3Endpoint({ endpoint, region }: Pick<S3Config, "endpoint" | "region">): string {
  return endpoint ?? `https://s3.${region}.amazonaws.com`;
}
