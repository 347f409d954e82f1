import { canonicalArguments, callKeyOf, writeKeyOf } from "../../trajectory/canonical-arguments.ts";
import { translated, type Names } from "../../trajectory/names.ts";
import { schemaHashOf } from "../../trajectory/record-tape.ts";
import type { TapeEntry } from "../../trajectory/tape.ts";
import { profileOf, writeRolesOf, type ToolProfile, type ToolProfiles } from "../../trajectory/tool-profile.ts";
import type { ToolSchema } from "./tool-schemas.ts";

/** One tool call as the policy made it, in the form that the cascade looks up. */
export interface PreparedCall {
  tool: string;
  /** Translates answers for the conversation that makes the call. */
  names: Names;
  profile: ToolProfile;
  /** Canonical, with the pseudonyms that tapes use. */
  args: unknown;
  callKey: string;
  writeKey: string;
  /** The tool's schema; null for a tool that the scenario does not have. */
  schema: ToolSchema | null;
}

/** Whether an entry was answered by the tool that the call asks, under the same schema, and is whole. */
export function sameTool(call: Pick<PreparedCall, "tool" | "schema">, entry: Pick<TapeEntry, "tool" | "schemaHash" | "damaged">): boolean {
  // A tool that the scenario does not have is known by its name alone.
  const schemaHash = call.schema?.schemaHash ?? schemaHashOf({ name: call.tool });
  return entry.tool === call.tool && entry.schemaHash === schemaHash && !entry.damaged;
}

/** Canonicalises a call once, with `names` of the rollout's conversation. `raw` is the arguments as sampled: JSON text, or parsed. */
export function prepareCall(
  { profiles, names }: { profiles: ToolProfiles; names: Names },
  schema: ToolSchema | null,
  tool: string,
  raw: unknown,
): PreparedCall {
  const profile = profileOf(profiles, tool);
  const args = canonicalArguments(translated(raw, names.toTape), schema?.parameters).value;
  return {
    tool,
    names,
    profile,
    args,
    callKey: callKeyOf(tool, args, profile.argumentRoles),
    writeKey: writeKeyOf(tool, args, writeRolesOf(profile)),
    schema,
  };
}
