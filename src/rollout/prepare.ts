import { canonicalArguments, callKeyOf, writeKeyOf } from "../trajectory/canonical-arguments.ts";
import { profileOf, type ToolProfile, type ToolProfiles } from "../trajectory/tool-profile.ts";
import type { ToolSchema } from "./tool-schemas.ts";

/** One tool call as the policy made it, in the form that the cascade looks up. */
export interface PreparedCall {
  tool: string;
  profile: ToolProfile;
  args: unknown;
  callKey: string;
  writeKey: string;
  /** The tool's schema; null for a tool that the scenario does not have. */
  schema: ToolSchema | null;
}

/** Canonicalises a call once. `raw` is the arguments as sampled: JSON text, or parsed. */
export function prepareCall(profiles: ToolProfiles, schema: ToolSchema | null, tool: string, raw: unknown): PreparedCall {
  const profile = profileOf(profiles, tool);
  const args = canonicalArguments(raw, schema?.parameters).value;
  return {
    tool,
    profile,
    args,
    callKey: callKeyOf(tool, args, profile.argumentRoles),
    writeKey: writeKeyOf(tool, args, profile.argumentRoles),
    schema,
  };
}
