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
  const rows = report.iterations.map(({ iteration, maskRate, maskRateByReward: half, offTape, masked }) => [
    iteration,
    percent(maskRate),
    half === null ? "-" : `${percent(half.better)} / ${percent(half.worse)}`,
    percent(offTape),
    counts(masked) || "none",
  ]);
  return table(["iteration", "masked", "better / worse", "off tape", "causes"], rows, context);
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
