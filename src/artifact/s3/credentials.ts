import { readFileSync } from "node:fs";
import type { S3Config } from "../../config-artifacts.ts";
import { nightshiftError } from "../../errors.ts";

/** What requests are signed with. Never logged, never in an error. */
export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

type Sources = Pick<S3Config, "accessKeyIdFile" | "secretAccessKeyFile" | "sessionTokenFile">;

/** From the configured files, or else from the environment's AWS_ variables. @throws NightshiftError `artifact_credentials_unreadable` */
export function readS3Credentials(config: Sources, env: Record<string, string | undefined>): S3Credentials {
  const { accessKeyIdFile, secretAccessKeyFile, sessionTokenFile } = config;
  if (accessKeyIdFile !== undefined || secretAccessKeyFile !== undefined) {
    return {
      accessKeyId: fromFile(accessKeyIdFile, "artifacts.accessKeyIdFile"),
      secretAccessKey: fromFile(secretAccessKeyFile, "artifacts.secretAccessKeyFile"),
      ...(sessionTokenFile === undefined ? {} : { sessionToken: fromFile(sessionTokenFile, "artifacts.sessionTokenFile") }),
    };
  }
  const token = env["AWS_SESSION_TOKEN"];
  return {
    accessKeyId: fromEnvironment("AWS_ACCESS_KEY_ID", env),
    secretAccessKey: fromEnvironment("AWS_SECRET_ACCESS_KEY", env),
    ...(token === undefined || token === "" ? {} : { sessionToken: token }),
  };
}

function fromFile(file: string | undefined, key: string): string {
  if (file === undefined) throw unreadable(key, "it is not set, and the other file is");
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch (error) {
    throw unreadable(file, (error as NodeJS.ErrnoException).code ?? "it cannot be read");
  }
  if (text === "") throw unreadable(file, "it is empty");
  return text;
}

function fromEnvironment(name: string, env: Record<string, string | undefined>): string {
  const value = env[name];
  if (value === undefined || value === "") throw unreadable(`the environment variable ${name}`, "it is not set");
  return value;
}

function unreadable(source: string, problem: string): Error {
  return nightshiftError("artifact_credentials_unreadable", { source, problem });
}
