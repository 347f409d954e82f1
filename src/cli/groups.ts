import type { Command } from "commander";
import type { Isolation, TrajectoryGroup } from "../rollout/group.ts";
import type { StoredGroup } from "../training/iteration.ts";
import type { Run } from "../training/run-store.ts";
import { nightshiftError } from "../errors.ts";
import { clientOptions, printAnswer, type ApiClient, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { describePlayed } from "./played-text.ts";
import { counts, fields, percent, table } from "./print.ts";

type Judged = NonNullable<StoredGroup["summary"]["judge"]>;

const EXAMPLES = `
Examples:
  nightshift groups list                 of the newest run
  nightshift groups list --run 0193f3…
  nightshift groups show 8c41…           its members with rewards and where their tool answers came from`;

/** `nightshift groups list|show`. */
export function groupsCommand(program: Command, context: CliContext): void {
  const groups = program.command("groups").description("rollout groups with their rewards").addHelpText("after", EXAMPLES);
  clientOptions(groups.command("list"))
    .description("groups of a run")
    .option("--run <run>", "run; the newest unless named")
    .option("--limit <n>", "at most this many", "100")
    .action(async ({ run, limit, ...options }: ClientOptions & { run?: string; limit: string }) => {
      await printAnswer(
        options,
        context,
        async (client) => client.get<{ groups: StoredGroup[] }>("/v1/groups", { run: run ?? (await newestRun(client)), limit }),
        (answer) =>
          table(["group", "iteration", "scenario", "mode", "verdict", "mean", "deviation", "masked"], answer.groups.map(row), context),
      );
    });
  clientOptions(groups.command("show <group>"))
    .description("one group, member by member")
    .action(async (id: string, options: ClientOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<StoredGroup & { body: TrajectoryGroup }>(`/v1/groups/${encodeURIComponent(id)}`),
        (group) => describe(group, context),
      );
    });
}

async function newestRun(client: ApiClient): Promise<string> {
  const [run] = (await client.get<{ runs: Run[] }>("/v1/runs", { limit: "1" })).runs;
  if (run === undefined) throw nightshiftError("not_found", { what: "run yet" });
  return run.id;
}

function row({ id, iteration, scenarioId, summary }: StoredGroup): unknown[] {
  const { verdict, mean, deviation, masked } = summary;
  return [
    id,
    iteration,
    shortScenario(scenarioId),
    summary.played?.mode ?? "loop",
    verdict,
    mean?.toFixed(3),
    deviation?.toFixed(3),
    counts(masked) || 0,
  ];
}

/** The call of a pivot stays: pivots of one conversation differ in nothing else. */
function shortScenario(scenarioId: string): string {
  const [whole = "", call] = scenarioId.split(".", 2);
  return call === undefined ? whole.slice(0, 12) : `${whole.slice(0, 12)}.${call}`;
}

const SANDBOXES: Record<Isolation, string> = {
  connection: "live, a world for each member",
  reset: "live, set back before each member",
  none: "live, never set back: each member met what those before it wrote",
};

function describe({ id, iteration, scenarioId, summary, body }: StoredGroup & { body: TrajectoryGroup }, context: CliContext): string {
  const { verdict, judge, mean, deviation } = summary;
  const { fidelity } = body;
  const head = fields(
    {
      ...{ group: id, iteration, scenario: scenarioId, verdict },
      rewards: mean === null ? null : `mean ${mean.toFixed(3)}, deviation ${deviation?.toFixed(3)}`,
      judge: judge === null ? null : judgeText(judge),
      prompt: judge === null ? null : judge.promptHash,
      anchor:
        summary.anchorReward === null
          ? null
          : `${summary.anchorReward.toFixed(3)} for the recorded conversation ${summary.anchorExplanation ?? ""}`,
      independent: independentText(summary),
      played: describePlayed(body.played),
      fidelity: `${fidelity.decision}, weight ${fidelity.weight.toFixed(2)}, recorded ${percent(fidelity.realShare)}, simulated ${percent(fidelity.simulatedShare)}`,
      sandbox: fidelity.live === undefined ? null : SANDBOXES[fidelity.live],
      "answers by rung": counts(fidelity.callsByRung) || "no tool calls",
    },
    context,
  );
  const members = body.members.map(({ end, journal }, index) => [
    index,
    summary.rewards[index]?.toFixed(3),
    judgedText(summary, index),
    end.status === "completed" ? "completed" : `${end.status}: ${end.cause}`,
    journal.map(({ rung }) => rung).join(" "),
    summary.explanations[index] ?? "",
  ]);
  return [head, "", table(["member", "reward", "judge", "end", "rungs", "explanation"], members, context)].join("\n");
}

function judgeText({ driver, model, rubricVersion, passes, inputTokens, outputTokens, cost, cached, elided }: Judged): string {
  const name = `${driver === "scripted" ? "scripted judge" : driver} ${model}, rubric ${rubricVersion}`;
  const price = cost === null ? "" : ` for ${cost.toFixed(4)}`;
  const asked = `${passes === 1 ? "one pass" : `${passes} passes`}, ${inputTokens} + ${outputTokens} tokens${price}`;
  return [name, asked, ...(cached ? ["from the cache"] : []), ...(elided ? ["shown with texts cut"] : [])].join(", ");
}

/** The judge's own score, and how far its passes were apart. */
function judgedText({ judgeRewards, spreads }: StoredGroup["summary"], index: number): string {
  const spread = spreads[index] ?? null;
  return `${judgeRewards[index]?.toFixed(3) ?? ""}${spread === null ? "" : ` ± ${(spread / 2).toFixed(3)}`}`;
}

function independentText({ independent }: StoredGroup["summary"]): string | null {
  if (independent === null) return null;
  const { check, combined, feedback } = independent;
  const values = check?.map((value) => value?.toFixed(3) ?? "-").join(" ");
  const checked = values === undefined ? [] : [`check ${values} (${combined ?? "not used: it cannot tell of every member"})`];
  const bounded = feedback === null ? [] : [`feedback ${feedback.value} bounds members ${feedback.members.join(" ") || "none"}`];
  return [...checked, ...bounded].join("; ") || "nothing known";
}
