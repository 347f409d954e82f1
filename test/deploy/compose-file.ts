import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { parseConfig, type Config } from "../../src/config.ts";

const deploy = join(import.meta.dirname, "../../deploy");

const dependency = z.strictObject({
  condition: z.enum(["service_started", "service_healthy", "service_completed_successfully"]),
});

const mount = z.union([
  z.string(),
  z.strictObject({ type: z.literal("bind"), source: z.string(), target: z.string(), read_only: z.boolean() }),
]);

/** The keys of the compose file format that ours uses; another one is a typing error until it is added here. */
const serviceSchema = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string(), target: z.string() }).optional(),
  user: z.string().optional(),
  profiles: z.array(z.string()).optional(),
  read_only: z.boolean().optional(),
  tmpfs: z.array(z.string()).optional(),
  cap_drop: z.array(z.string()).optional(),
  security_opt: z.array(z.string()).optional(),
  restart: z.string(),
  stop_grace_period: z
    .string()
    .regex(/^\d+s$/)
    .optional(),
  stop_signal: z.string().optional(),
  shm_size: z.string().optional(),
  logging: z.strictObject({ driver: z.string() }),
  environment: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
  entrypoint: z.array(z.string()).optional(),
  command: z.array(z.string()).optional(),
  ports: z.array(z.string()).optional(),
  configs: z.array(z.strictObject({ source: z.string(), target: z.string() })).optional(),
  secrets: z.array(z.union([z.string(), z.strictObject({ source: z.string(), target: z.string() })])).optional(),
  volumes: z.array(mount).optional(),
  networks: z.array(z.string()),
  deploy: z
    .strictObject({
      replicas: z.int().optional(),
      resources: z
        .strictObject({
          reservations: z.strictObject({
            devices: z.array(z.strictObject({ driver: z.string(), device_ids: z.array(z.string()), capabilities: z.array(z.string()) })),
          }),
        })
        .optional(),
    })
    .optional(),
  healthcheck: z
    .union([
      z.strictObject({ disable: z.literal(true) }),
      z.strictObject({
        test: z.array(z.string()),
        interval: z.string(),
        timeout: z.string(),
        start_period: z.string(),
        start_interval: z.string().optional(),
      }),
    ])
    .optional(),
  depends_on: z.record(z.string(), dependency).optional(),
});

const composeSchema = z.object({
  name: z.string(),
  services: z.record(z.string(), serviceSchema),
  configs: z.record(z.string(), z.strictObject({ file: z.string() })),
  secrets: z.record(z.string(), z.strictObject({ file: z.string() })),
  volumes: z.record(z.string(), z.strictObject({})),
  networks: z.record(z.string(), z.strictObject({})),
});

export type Service = z.infer<typeof serviceSchema>;
export type Compose = z.infer<typeof composeSchema>;

/** deploy/compose.yaml with its merge keys resolved. */
export function readCompose(): Compose {
  return composeSchema.parse(parse(readFileSync(join(deploy, "compose.yaml"), "utf8"), { merge: true }));
}

/** The config that its processes get. */
export function readComposeConfig(): Config {
  return parseConfig(parse(readFileSync(join(deploy, "compose/nightshift.yaml"), "utf8")));
}

/** Where a service finds its secrets. */
export function secretsOf({ secrets = [] }: Service): { source: string; path: string }[] {
  return secrets.map((one) =>
    typeof one === "string" ? { source: one, path: `/run/secrets/${one}` } : { source: one.source, path: one.target },
  );
}
