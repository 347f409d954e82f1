import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** A Python as the trainer and the embedded policy server would find it. */
export type PythonProbe =
  | { status: "unusable"; problem: string }
  /** Installed versions of the packages that the trainer imports; null where one is missing. */
  | { status: "ok"; version: string; packages: Readonly<Record<string, string | null>> };

const PACKAGES = ["torch", "transformers", "peft", "safetensors", "pydantic", "starlette", "uvicorn"];
const PROBE_TIMEOUT_MS = 20_000;
// Reads the packages' metadata: importing torch would take seconds.
const SCRIPT = `
import importlib.metadata as metadata, json, sys
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None
print(json.dumps({"version": ".".join(map(str, sys.version_info[:3])), "new": sys.version_info >= (3, 11), "packages": {name: version(name) for name in sys.argv[1:]}}))
`;

/** Starts `python` once and asks for its version and its packages' versions. Never rejects. */
export async function probePython(python: string): Promise<PythonProbe> {
  try {
    const { stdout } = await promisify(execFile)(python, ["-c", SCRIPT, ...PACKAGES], { timeout: PROBE_TIMEOUT_MS });
    const told = JSON.parse(stdout) as { version: string; new: boolean; packages: Record<string, string | null> };
    if (!told.new) return { status: "unusable", problem: `version ${told.version} is older than 3.11` };
    return { status: "ok", version: told.version, packages: told.packages };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    return { status: "unusable", problem: code === "ENOENT" ? "there is no such file" : (message.split("\n")[0] ?? "it does not start") };
  }
}
