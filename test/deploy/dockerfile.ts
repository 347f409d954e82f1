/** One instruction of a Dockerfile with everything after its name, continuation lines joined. */
export interface Instruction {
  name: string;
  rest: string;
}

/** One stage: what it is made from, under which name, and its instructions in order. */
export interface Stage {
  from: string;
  name: string;
  instructions: readonly Instruction[];
}

/** The stages of a Dockerfile and what stands before the first. Knows no here-documents and no directives, because ours has none. */
export function parseDockerfile(text: string): { head: readonly Instruction[]; stages: readonly Stage[] } {
  const head: Instruction[] = [];
  const stages: (Stage & { instructions: Instruction[] })[] = [];
  const lines = text
    .split("\n")
    .filter((line) => !line.trimStart().startsWith("#"))
    .join("\n")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n");
  for (const line of lines.map((one) => one.trim()).filter((one) => one !== "")) {
    const [name = "", ...words] = line.split(/\s+/);
    if (name === "FROM") {
      const [from = "", , as = ""] = words;
      stages.push({ from, name: as, instructions: [] });
    } else {
      (stages.at(-1)?.instructions ?? head).push({ name, rest: words.join(" ") });
    }
  }
  return { head, stages };
}

/** Where a COPY takes from and to. `stage` is null for the build context. */
export interface Copy {
  stage: string | null;
  sources: readonly string[];
  target: string;
}

export function copiesOf({ instructions }: Stage): Copy[] {
  return instructions
    .filter(({ name }) => name === "COPY")
    .map(({ rest }) => {
      const words = rest.split(" ");
      const flags = words.filter((word) => word.startsWith("--"));
      const paths = words.filter((word) => !word.startsWith("--"));
      const from = flags.find((flag) => flag.startsWith("--from="));
      return { stage: from?.slice("--from=".length) ?? null, sources: paths.slice(0, -1), target: paths.at(-1) ?? "" };
    });
}
