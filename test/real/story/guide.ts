import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const PATH = join(resolve(import.meta.dirname, "../../.."), "docs/kubernetes.md");

/** One block of code of docs/kubernetes.md. */
export interface Block {
  /** Its section's heading without the number, and which of the section's blocks it is: `Secrets 1`. */
  id: string;
  language: string;
  text: string;
}

/** What the story takes from the guide and does as it stands, in its order. */
export const FOLLOWED = [
  "What must be there 2",
  "Secrets 1",
  "The base model 1",
  "Values 1",
  "Without a bucket 1",
  "Without a bucket 2",
  "Install 1",
  "Look 1",
  "Look 2",
  "Look 3",
  "The agent 1",
  "The first night 1",
  "Promoted, or rolled back 1",
  "Promoted, or rolled back 4",
  "Upgrade 1",
  "Uninstall 1",
] as const;
export type Followed = (typeof FOLLOWED)[number];

/** What it does not, and why. Command lines of ours are tried all the same, by test/helm/guide.test.ts. */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  "What must be there 1": "the working copy has its packages, and no registry can be reached from where pods live",
  "Images 1": "there is no container engine: an image is a command on the working copy",
  "Promoted, or rolled back 2": "the story's judges are a script, which there is nothing to measure of",
  "Promoted, or rolled back 3": "the story promotes without a hand",
  "For evaluation 1": "there is no container engine",
  "For evaluation 2": "test/real/kubernetes/chart-install.test.ts installs, tests and upgrades what this installs",
};

/** The blocks in their order. */
export function readGuide(): Block[] {
  const blocks: Block[] = [];
  let [section, count] = ["", 0];
  const text = readFileSync(PATH, "utf8");
  for (const [, heading, language = "", body = ""] of text.matchAll(/^#{2,} (?:\d+\. )?(.+)$|^```(\w*)\n([\s\S]*?)^```$/gm)) {
    if (heading !== undefined) [section, count] = [heading, 0];
    else blocks.push({ id: `${section} ${++count}`, language, text: body });
  }
  return blocks;
}
