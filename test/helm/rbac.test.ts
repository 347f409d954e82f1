import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { examples, renderedOf, type Manifest } from "./objects.ts";

/** What each account may do, one right a line: `account namespace verb group/resource[names]`. */
function rightsOf(manifests: readonly Manifest[]): string[] {
  const accounts = manifests.filter(({ kind }) => kind === "ServiceAccount").map(({ metadata }) => metadata.name);
  const bindings = manifests.filter(({ kind }) => /RoleBinding$/.test(kind));
  return accounts.flatMap((account) => {
    const rights = bindings
      .filter(({ subjects = [] }) => subjects.some(({ name }) => name === account))
      .flatMap((binding) => rightsOfRole(manifests, binding));
    return rights.length === 0 ? [`${account}: nothing`] : rights.map((right) => `${account}: ${right}`);
  });
}

function rightsOfRole(manifests: readonly Manifest[], { kind, roleRef, metadata }: Manifest): string[] {
  const role = manifests.find(
    (one) => one.kind === roleRef?.kind && one.metadata.name === roleRef.name && one.metadata.namespace === metadata.namespace,
  );
  if (role === undefined) throw new Error(`${kind} ${metadata.name} binds no role that is there`);
  return (role.rules ?? []).flatMap(({ apiGroups, resources, resourceNames, verbs }) =>
    apiGroups.flatMap((group) =>
      resources.map((resource) => {
        const names = resourceNames === undefined ? "" : ` ${resourceNames.join(",")}`;
        return `${verbs.join(",")} ${group === "" ? "core" : group}/${resource}${names}`;
      }),
    ),
  );
}

describe("RBAC golden: what each account may do", () => {
  const golden = JSON.parse(readFileSync(join(import.meta.dirname, "rbac.golden.json"), "utf8")) as Record<string, string[]>;

  test.each(examples)("%s", (example) => {
    expect(rightsOf(renderedOf(example))).toEqual(golden[example]);
  });
});

describe("RBAC: namespaced, no *, no secrets, no pods/exec", () => {
  const roles = examples.flatMap((example) =>
    renderedOf(example)
      .filter(({ kind }) => /^(Cluster)?Role(Binding)?$/.test(kind))
      .map((role) => ({ name: `${example}: ${role.kind} ${role.metadata.name}`, role })),
  );

  test.each(roles)("$name", ({ role }) => {
    expect(role.kind).not.toMatch(/^Cluster/);
    for (const { apiGroups, resources, verbs } of role.rules ?? []) {
      expect([...apiGroups, ...resources, ...verbs]).not.toContain("*");
      expect(resources).not.toContain("secrets");
      expect(resources.filter((resource) => resource.includes("/"))).toEqual([]);
      for (const verb of ["escalate", "bind", "impersonate", "deletecollection"]) expect(verbs).not.toContain(verb);
    }
  });

  test("the trainer may do nothing", () => {
    for (const example of examples) expect(rightsOf(renderedOf(example)).filter((line) => /-trainer: (?!nothing)/.test(line))).toEqual([]);
    expect(rightsOf(renderedOf("full"))).toContain("nightshift-trainer: nothing");
  });

  test.each(examples)("%s: no account of a pod is the namespace's default one", (example) => {
    const manifests = renderedOf(example);
    const accounts = manifests.filter(({ kind }) => kind === "ServiceAccount");
    for (const { automountServiceAccountToken } of accounts) expect(automountServiceAccountToken).toBe(false);
    const used = JSON.stringify(manifests).match(/"serviceAccountName":"([^"]+)"/g) ?? [];
    expect(used.length).toBeGreaterThan(0);
    const names = accounts.map(({ metadata }) => `"serviceAccountName":"${metadata.name}"`);
    for (const one of used) expect(names).toContain(one);
  });
});
