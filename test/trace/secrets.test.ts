import { rules } from "@secretlint/secretlint-rule-preset-recommend";
import { expect, test } from "vitest";
import { findSecrets } from "../../src/trace/secrets.ts";

const letters = (count: number) => "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zC0".repeat(20).slice(0, count);
const alphabetic = (count: number) => "aBcDeFgHiJkLmNoPqRsTuVwXyZ".repeat(3).slice(0, count);
const hex = (count: number) => "0f1e2d3c4b5a69788796a5b4c3d2e1f0".repeat(2).slice(0, count);
const onePassword = `ops_${Buffer.from(JSON.stringify({ email: "x@example.com", secretKey: letters(90), n: { a: 1 } })).toString("base64")}`;

/** One made-up example per kind of secret of every rule: [rule, text, the secret in it]. */
const EXAMPLES: [rule: string, text: string, secret: string][] = [
  ["aws", `AWS_SECRET_ACCESS_KEY=${letters(40)}`, letters(40)],
  ["aws", `"SecretAccessKey": "${letters(40)}"`, letters(40)],
  ["privatekey", `-----BEGIN RSA PRIVATE KEY-----\nMI${letters(200)}\n-----END RSA PRIVATE KEY-----`, letters(200)],
  ["npm", `npm_${letters(36)}`, letters(36)],
  ["basicauth", "https://deploy:s3cretpass@build.example.com/x", "s3cretpass"],
  ["slack", `xoxb-123456789012-${letters(24)}`, letters(24)],
  ["slack", `https://hooks.slack.com/services/T${hex(8)}/B${hex(8)}/${letters(24)}`, letters(24)],
  ["sendgrid", `SG.${letters(22)}.${letters(43)}`, letters(43)],
  ["shopify", `shpat_${hex(32)}`, hex(32)],
  ["github", `ghp_${letters(36)}`, letters(36)],
  ["github", `github_pat_${letters(82)}`, letters(82)],
  ["gitlab", `glpat-${letters(20)}`, letters(20)],
  ["grafana", `glc_${letters(60)}`, letters(60)],
  ["grafana", `glsa_${letters(32)}_${hex(8)}`, letters(32)],
  ["openai", `sk-proj-${letters(74)}T3BlbkFJ${letters(74)}`, letters(74)],
  ["openai", `sk-${letters(20)}T3BlbkFJ${letters(20)}`, letters(20)],
  ["anthropic", `sk-ant-api03-${letters(93)}AA`, letters(93)],
  ["groq", `gsk_${letters(52)}`, letters(52)],
  ["huggingface", `hf_${alphabetic(34)}`, alphabetic(34)],
  ["linear", `lin_api_${letters(40)}`, letters(40)],
  ["notion", `ntn_12345678901${letters(35)}`, letters(35)],
  ["1password", onePassword, onePassword],
  ["database-connection-string", "postgres://app:s3cretpass@db.example.com/shop", "s3cretpass"],
  ["database-connection-string", "mysql://app:s3cretpass@db.example.com/shop", "s3cretpass"],
  ["database-connection-string", "mongodb+srv://app:s3cretpass@db.example.com/shop", "s3cretpass"],
  ["hashicorp-vault", `hvs.${letters(95)}`, letters(95)],
  ["hashicorp-vault", `hvb.${letters(150)}`, letters(150)],
  ["vercel", `vcp_${letters(24)}`, letters(24)],
  ["databricks", `dapi${hex(32)}`, hex(32)],
  ["docker", `dckr_pat_${letters(27)}`, letters(27)],
  ["figma", `figd_${letters(40)}`, letters(40)],
];

/** Rules that look at whole files (a key file's name, an allow-list in comments): nothing of theirs is in a text. */
const FILE_RULES = ["gcp", "filter-comments"];

test.each(EXAMPLES)("%s: %s", async (_rule, text, secret) => {
  const wrapped = `before ${text} after`;
  const left = (await findSecrets(wrapped)).reverse().reduce((rest, hit) => rest.slice(0, hit.start) + rest.slice(hit.end), wrapped);
  expect(left).not.toContain(secret);
  expect(left.startsWith("before ")).toBe(true);
});

test("every rule of the preset has an example, so a new one cannot pass the prefilter unseen", () => {
  const known = new Set([...EXAMPLES.map(([rule]) => rule), ...FILE_RULES]);
  expect(rules.map((rule) => rule.meta.id.replace("@secretlint/secretlint-rule-", "")).filter((rule) => !known.has(rule))).toEqual([]);
});
