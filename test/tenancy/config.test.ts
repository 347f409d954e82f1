import { expect, it } from "vitest";
import { parseConfig } from "../../src/config.ts";

const hash = "a".repeat(64);

it.each([
  {
    name: "a collector's token of two tenants",
    tree: { tenants: { north: { collectorTokenHashes: [hash] }, south: { collectorTokenHashes: [hash] } } },
    says: "config tenants.south.collectorTokenHashes: the same token stands in tenants.north.collectorTokenHashes",
  },
  {
    name: "an operator's token that is a tenant's, too",
    tree: { api: { tokens: { operator: [hash] } }, tenants: { north: { apiTokens: { operator: [hash] } } } },
    says: "config tenants.north.apiTokens.operator: the same token stands in api.tokens.operator",
  },
  {
    name: "one token of two roles",
    tree: { api: { tokens: { operator: [hash], viewer: [hash] } } },
    says: "config api.tokens.viewer: the same token stands in api.tokens.operator",
  },
  {
    name: "an agent of nobody",
    tree: { agents: { desk: { tenant: "west", model: "m", baseModel: "b" } } },
    says: "config agents.desk.tenant: names no key of tenants",
  },
])("a config with $name is refused: whose a request is must have one answer", ({ tree, says }) => {
  expect(() => parseConfig(tree)).toThrow(says);
});

it("takes one token for the API and for the collector: nobody asks both tables", () => {
  const tree = { tenants: { north: { collectorTokenHashes: [hash], apiTokens: { ingest: [hash] } } } };
  expect(parseConfig(tree).tenants["north"]?.apiTokens.ingest).toEqual([hash]);
});
