import type { Role } from "../config-api.ts";

interface Row {
  method: "GET" | "POST" | "DELETE";
  /** `:name` stands for one segment, `*` at the end for any rest. */
  path: string;
  roles: readonly Role[];
}

const READERS = ["viewer", "operator"] as const;

/** Who may call what. The first row that matches decides. */
const TABLE: readonly Row[] = [
  { method: "GET", path: "/v1/routes", roles: ["gateway", ...READERS] },
  { method: "GET", path: "/v1/upstreams", roles: ["gateway", ...READERS] },
  { method: "POST", path: "/v1/disturbances", roles: ["gateway"] },
  { method: "GET", path: "/v1/desired-adapters", roles: ["agent", ...READERS] },
  { method: "POST", path: "/v1/attestations", roles: ["agent"] },
  { method: "POST", path: "/v1/feedback", roles: ["ingest", "operator"] },
  // Computes, and writes nothing.
  { method: "POST", path: "/v1/replay/:reference", roles: READERS },
  { method: "POST", path: "/v1/runs", roles: ["operator"] },
  { method: "POST", path: "/v1/runs/:id/cancellation", roles: ["operator"] },
  { method: "POST", path: "/v1/judge/calibrations", roles: ["operator"] },
  { method: "POST", path: "/v1/drift", roles: ["operator"] },
  { method: "POST", path: "/v1/bootstrap", roles: ["operator"] },
  { method: "POST", path: "/v1/runs/:run/alarms/:alarm/acknowledgement", roles: ["operator"] },
  { method: "POST", path: "/v1/experiments/:id/actions", roles: ["operator"] },
  { method: "DELETE", path: "/v1/subjects/:key", roles: ["operator"] },
  { method: "GET", path: "/v1/*", roles: READERS },
];

/** The roles that may make this request; what no row names is the operator's alone. */
export function rolesFor(method: string, path: string): readonly Role[] {
  const asked = method === "HEAD" ? "GET" : method;
  return TABLE.find((row) => row.method === asked && matches(row.path, path))?.roles ?? ["operator"];
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split("/");
  const found = path.split("/");
  const isOpen = wanted.at(-1) === "*";
  if (isOpen ? found.length < wanted.length : found.length !== wanted.length) return false;
  return wanted.every((segment, index) => segment === "*" || (segment.startsWith(":") ? found[index] !== "" : segment === found[index]));
}
