import { expect } from "vitest";
import { experiment, startGateway } from "../serving/gateway-fixture.ts";
import type { meterInMemory } from "./metered.ts";

/** A gateway whose control plane falls silent twice. */
export async function checkLease(meter: Pick<ReturnType<typeof meterInMemory>, "points">): Promise<void> {
  let nowMs = 0;
  await using gateway = await startGateway({
    upstreams: [],
    routes: experiment(0.3, { agent: "leased", version: 7 }),
    monotonicMs: () => nowMs,
  });
  const leased = (name: string) =>
    meter.points(name).then((points) => points.filter((point) => point.attributes["nightshift.agent"] === "leased"));
  const at = (value: number) => [{ attributes: { "nightshift.agent": "leased" }, value }];
  expect(await leased("nightshift.gateway.candidate.weight")).toEqual(at(0.3));
  expect(await leased("nightshift.gateway.route.version")).toEqual(at(7));
  expect(await leased("nightshift.gateway.lease.age")).toEqual(at(0));
  expect(await leased("nightshift.gateway.lease_lapses")).toEqual([]);
  nowMs = 60_000;
  gateway.routes.effective("leased");
  gateway.routes.effective("leased");
  expect(await leased("nightshift.gateway.candidate.weight")).toEqual(at(0));
  expect(await leased("nightshift.gateway.lease.age")).toEqual(at(60));
  gateway.routes.confirm("leased", 7);
  gateway.routes.effective("leased");
  expect(await leased("nightshift.gateway.lease.age")).toEqual(at(0));
  nowMs = 120_000;
  gateway.routes.effective("leased");
  expect(await leased("nightshift.gateway.lease_lapses")).toEqual(at(2));
}
