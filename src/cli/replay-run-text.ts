import type { RunView } from "../api/views.ts";
import type { CliContext } from "./context.ts";
import { counts, oneLine, paint, percent, table } from "./print.ts";

/** How faithful a run's replay was, measured and counted, with its alarms first. Empty where nothing is known yet. */
export function describeReplay({ replay }: Pick<RunView, "replay">, context: CliContext): string {
  const parts = [alarmLines({ replay }, context).join("\n"), iterationTable(replay.report, context), measuredTable(replay.tools, context)];
  return parts.filter((part) => part !== "").join("\n\n");
}

/** One line per alarm. */
export function alarmLines({ replay }: Pick<RunView, "replay">, context: CliContext): string[] {
  return (replay.report?.alarms ?? []).map(({ alarm, value, limit, where }) =>
    paint(
      "bold",
      `replay alarm: ${alarm.replaceAll("_", " ")} ${percent(value)} (limit ${percent(limit)}), ${oneLine(where, 60)}`,
      context,
    ),
  );
}

function iterationTable(report: RunView["replay"]["report"], context: CliContext): string {
  if (report === null) return "";
  const rows = report.iterations.map(({ iteration, maskRate, maskRateByReward, offTape, masked }) => [
    iteration,
    percent(maskRate),
    halves(maskRateByReward),
    percent(offTape),
    counts(masked) || "none",
  ]);
  const causes = report.iterations.flatMap(({ iteration, causes: some = [] }) =>
    some.map(({ cause, members, rate, byReward }) => [iteration, oneLine(cause, 24), members, percent(rate), halves(byReward)]),
  );
  const byCause = causes.length === 0 ? [] : ["", table(["iteration", "masked by", "members", "share", "better / worse"], causes, context)];
  return [table(["iteration", "masked", "better / worse", "off tape", "causes"], rows, context), ...byCause].join("\n");
}

function halves(of: { better: number; worse: number } | null): string {
  return of === null ? "-" : `${percent(of.better)} / ${percent(of.worse)}`;
}

function measuredTable(tools: RunView["replay"]["tools"], context: CliContext): string {
  if (tools === null || tools.length === 0) return "";
  const rows = tools.flatMap(({ tool, calls, missed, rungs, falseSuccess }) => [
    ...rungs.map(({ rung, served, wrong, upperBound, refused }) => [
      oneLine(tool, 24),
      rung,
      served,
      wrong,
      percent(upperBound),
      refused
        ? "REFUSED"
        : isWrite(rung) && falseSuccess.errors > 0
          ? `false success ${falseSuccess.asSuccess} of ${falseSuccess.errors}`
          : "",
    ]),
    ...(missed > 0 ? [[oneLine(tool, 24), "none", missed, "", "", `of ${calls} calls`]] : []),
  ]);
  return table(["tool, without its tape", "rung", "answers", "wrong", "at most", ""], rows, context);
}

function isWrite(rung: string): boolean {
  return rung === "R4" || rung === "R5";
}
