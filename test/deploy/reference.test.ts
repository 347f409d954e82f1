import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { generatedFiles } from "../../deploy/setup/reference.ts";

const root = join(import.meta.dirname, "../..");

test.each(generatedFiles())("$path is what the code says (npm run generate writes it)", ({ path, text }) => {
  expect(readFileSync(join(root, path), "utf8")).toBe(text);
});
