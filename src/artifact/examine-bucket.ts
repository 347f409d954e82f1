import { randomUUID } from "node:crypto";
import { nightshiftError, NightshiftError } from "../errors.ts";
import type { Objects } from "./objects.ts";

/** What this client may do in the bucket, each tried with a small object of its own that is deleted again. */
export interface BucketFacts {
  /** In the order in which they were tried; those that need an earlier one that failed are left out. */
  rights: { right: "write" | "read" | "list" | "delete"; error: NightshiftError | null }[];
  /** A second create of the same key was turned down. Null where it could not be tried. */
  refusesSecondCreate: boolean | null;
}

const CONTENT = Buffer.from("nightshift doctor\n");

/** @throws NightshiftError `artifact_store_unavailable` when nothing answers */
export async function examineBucket(objects: Objects): Promise<BucketFacts> {
  const key = `doctor/${randomUUID()}`;
  const rights: BucketFacts["rights"] = [];
  const attempt = async (right: BucketFacts["rights"][number]["right"], work: () => Promise<boolean>): Promise<boolean> => {
    try {
      const error = (await work()) ? null : nightshiftError("artifact_corrupt", { what: key, problem: "it is not what was written" });
      rights.push({ right, error });
      return error === null;
    } catch (error) {
      if (!(error instanceof NightshiftError) || error.code === "artifact_store_unavailable") throw error;
      rights.push({ right, error });
      return false;
    }
  };
  if (!(await attempt("write", async () => (await objects.create(key, CONTENT)) === "created"))) {
    await attempt("list", async () => (await objects.list("doctor/")).length >= 0);
    return { rights, refusesSecondCreate: null };
  }
  const refusesSecondCreate = (await objects.create(key, CONTENT)) === "exists";
  await attempt("read", async () => Buffer.compare((await objects.get(key)) ?? Buffer.alloc(0), CONTENT) === 0);
  await attempt("list", async () => (await objects.list("doctor/")).includes(key));
  await attempt("delete", async () => {
    await objects.remove(key);
    return true;
  });
  return { rights, refusesSecondCreate };
}
