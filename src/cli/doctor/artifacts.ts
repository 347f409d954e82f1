import { openObjects } from "../../app/artifacts.ts";
import { examineBucket, type BucketFacts } from "../../artifact/examine-bucket.ts";
import { s3Endpoint, type S3Config } from "../../config-artifacts.ts";
import type { Config } from "../../config.ts";
import { NightshiftError } from "../../errors.ts";
import type { CliContext } from "../context.ts";
import { judgeClock } from "./clock.ts";
import { dateOf } from "./date-of.ts";
import { bad, ok, type Finding } from "./finding.ts";

const S3_RIGHTS = { write: "s3:PutObject", read: "s3:GetObject", list: "s3:ListBucket", delete: "s3:DeleteObject" } as const;

/** The configured bucket: may it be used, and does it keep two writers apart. Nothing for artifacts in files, which lie in the data directory. */
export async function checkArtifacts({ artifacts }: Pick<Config, "artifacts">, { env }: Pick<CliContext, "env">): Promise<Finding[]> {
  if (artifacts.driver !== "s3") return [];
  try {
    const objects = await openObjects(artifacts, { env });
    try {
      return [...judge(artifacts, await examineBucket(objects)), ...(await clockOf(artifacts))];
    } finally {
      objects.close();
    }
  } catch (error) {
    if (!(error instanceof NightshiftError)) throw error;
    return [bad("artifact store", error.message, error.fix)];
  }
}

function judge(config: S3Config, { rights, refusesSecondCreate }: BucketFacts): Finding[] {
  const lacking = rights.flatMap(({ right, error }) => (error === null ? [] : [{ right, error }]));
  const place = `${config.bucket}/${config.prefix} at ${s3Endpoint(config)}`;
  return [
    ...(lacking.length === 0 ? [ok("artifact store", `${place}: may write, read, list and delete`)] : []),
    ...lacking.map(({ right, error }) =>
      bad("artifact store", `${place}: may not ${right} (${error.message.split(": ").at(-1) ?? ""})`, fixOf(right, error)),
    ),
    ...(refusesSecondCreate === null ? [] : [conditional(refusesSecondCreate)]),
  ];
}

function fixOf(right: keyof typeof S3_RIGHTS, error: NightshiftError): string {
  // A wrong bucket or a wrong secret is no missing right.
  return /AccessDenied$/.test(error.message) ? `Allow ${S3_RIGHTS[right]} below the prefix to this access key.` : error.fix;
}

function conditional(isRefused: boolean): Finding {
  const check = "artifact store: conditional create";
  if (isRefused) return ok(check, "of two writers one wins (If-None-Match: *)");
  return bad(
    check,
    "a second create replaced the first: If-None-Match: * has no effect there",
    "Use a store that knows conditional writes (Amazon S3, MinIO, Ceph, R2 in current versions): two processes could publish one name twice.",
  );
}

async function clockOf(config: S3Config): Promise<Finding[]> {
  return [judgeClock("artifact store clock", await dateOf(s3Endpoint(config), config.timeoutMs))];
}
