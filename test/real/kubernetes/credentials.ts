import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";

/** Who may talk to the API server with a token of its own: what each is called there, and its groups. */
const IDENTITIES = {
  admin: { user: "admin", groups: ["system:masters"] },
  controllerManager: { user: "system:kube-controller-manager", groups: [] },
  scheduler: { user: "system:kube-scheduler", groups: [] },
  // A node's own rights end at what its kubelet does; this one is proxy, DNS and provisioner, too.
  kubelet: { user: "system:node:test-kubelet", groups: ["system:masters"] },
} as const;

export type Identity = keyof typeof IDENTITIES;

/** Files below one folder that the control plane's processes are started with. */
export interface Credentials {
  readonly tokenFile: string;
  readonly serviceAccountKey: string;
  readonly serviceAccountPublicKey: string;
  readonly auditPolicy: string;
  /** Where the API server writes the certificate that it signs itself; its CA is in it, too. */
  readonly certificates: string;
  tokenOf(identity: Identity): string;
  /** PEM; there once the API server has started. */
  ca(): string;
  /** The path of a kubeconfig for this identity. */
  kubeconfig(identity: Identity, server: string): string;
}

/**
 * Whole bodies for what the tests count (which pods ran when), names for the rest of what is written, nothing for what is read.
 */
const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [
    { level: "None", verbs: ["get", "list", "watch"] },
    {
      level: "None",
      resources: [
        { group: "", resources: ["events"] },
        { group: "events.k8s.io", resources: ["events"] },
      ],
    },
    { level: "RequestResponse", resources: [{ group: "", resources: ["pods", "pods/status", "pods/eviction", "pods/binding"] }] },
    { level: "Metadata" },
  ],
};

export function writeCredentials(home: string): Credentials {
  const at = (name: string): string => join(home, name);
  const tokens = Object.fromEntries(Object.keys(IDENTITIES).map((name) => [name, randomBytes(16).toString("hex")])) as Record<
    Identity,
    string
  >;
  const rows = Object.entries(IDENTITIES).map(
    ([name, { user, groups }]) => `${tokens[name as Identity]},${user},${name},"${groups.join(",")}"`,
  );
  writeFileSync(at("tokens.csv"), `${rows.join("\n")}\n`, { mode: 0o600 });
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(at("service-account.key"), privateKey.export({ type: "pkcs1", format: "pem" }), { mode: 0o600 });
  writeFileSync(at("service-account.pub"), publicKey.export({ type: "spki", format: "pem" }));
  writeFileSync(at("audit-policy.yaml"), stringify(AUDIT_POLICY));
  const certificates = at("certificates");
  const caFile = join(certificates, "apiserver.crt");
  return {
    tokenFile: at("tokens.csv"),
    serviceAccountKey: at("service-account.key"),
    serviceAccountPublicKey: at("service-account.pub"),
    auditPolicy: at("audit-policy.yaml"),
    certificates,
    tokenOf: (identity) => tokens[identity],
    ca: () => readFileSync(caFile, "utf8"),
    kubeconfig(identity, server) {
      const file = at(`${identity}.kubeconfig`);
      if (!existsSync(file)) writeFileSync(file, stringify(kubeconfigOf(server, caFile, tokens[identity])), { mode: 0o600 });
      return file;
    },
  };
}

function kubeconfigOf(server: string, caFile: string, token: string): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster: { server, "certificate-authority": caFile } }],
    users: [{ name: "test", user: { token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    "current-context": "test",
  };
}
