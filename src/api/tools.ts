import { nightshiftError } from "../errors.ts";
import { configSnippet } from "../trajectory/profiles/config-snippet.ts";
import { scopeEvidence } from "../trajectory/profiles/scope-evidence.ts";
import { toolContentOf, type ToolContent } from "../trajectory/profiles/tool-content.ts";
import type { ToolProfile } from "../trajectory/tool-profile.ts";
import type { AgentControl } from "./control.ts";

/** One tool at a glance: its profile, and when it was last called. */
export interface ToolView extends ToolProfile {
  /** Share of its calls that replay counts as failed; null without calls. */
  errorRate: number | null;
  lastCallAtMs: number | null;
}

/** One tool with what its recorded answers look like: untrusted text, of conversations that the reader may see anyway. */
export interface ToolDetailView extends ToolView, ToolContent {
  lastCallAtMs: number | null;
  /** YAML for `agents.<agent>.tools`. */
  configSnippet: string;
}

/** The profiles of an agent's tools, by name, as a night that began now would use them. */
export async function toolViews(control: AgentControl): Promise<ToolView[]> {
  const { profiles, selection } = await control.recordings();
  const last = new Map<string, number>();
  for (const { entries } of selection.tapes) {
    for (const { tool, startedAtMs } of entries) last.set(tool, Math.max(startedAtMs, last.get(tool) ?? 0));
  }
  return [...profiles.values()].map((profile) => viewOf(profile, last.get(profile.tool) ?? null));
}

/** @throws NightshiftError `not_found` */
export async function toolView(control: AgentControl, tool: string): Promise<ToolDetailView> {
  const { profiles, selection, trajectories } = await control.recordings();
  const known = profiles.get(tool);
  if (known === undefined) throw nightshiftError("not_found", { what: `tool ${tool.slice(0, 200)} of agent ${control.agent}` });
  const content = toolContentOf(tool, selection.tapes);
  const usable = trajectories.filter(({ verdict }) => verdict.trainable);
  const scope = scopeEvidence(profiles, usable).get(tool);
  const profile = scope === undefined ? known : { ...known, facts: [...known.facts, scope] };
  return { ...viewOf(profile, content.lastCallAtMs), ...content, configSnippet: configSnippet(profile) };
}

function viewOf(profile: ToolProfile, lastCallAtMs: number | null): ToolView {
  return { ...profile, errorRate: profile.calls === 0 ? null : profile.errors / profile.calls, lastCallAtMs };
}
