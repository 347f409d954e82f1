import { createRequire } from "node:module";
import { beforeAll, expect, test, vi } from "vitest";
import { mendMembership } from "../../src/transport/kafka/membership.ts";

interface Broker {
  joinGroup(request: { groupId: string; memberId: string }): Promise<unknown>;
}

const load = createRequire(import.meta.url);
const { prototype: brokers } = load("kafkajs/src/broker/index.js") as { prototype: Broker };
const { prototype: groups } = load("kafkajs/src/consumer/consumerGroup.js") as { prototype: { joinAndSync(): Promise<unknown> } };
const { KafkaJSConnectionError, KafkaJSMemberIdRequired } = load("kafkajs/src/errors.js") as {
  KafkaJSConnectionError: new (message: string) => Error;
  KafkaJSMemberIdRequired: new (error: object, given: { memberId: string }) => Error;
};
beforeAll(mendMembership);

const cut = () => new KafkaJSConnectionError("read ECONNRESET");
const required = () => new KafkaJSMemberIdRequired({ message: "a member id is required" }, { memberId: "member-1" });

/** A broker whose answers are scripted, an Error being one that does not come; `asked` has the member id of every request. */
function brokerThat(...answers: unknown[]): { broker: Broker; asked: string[] } {
  const asked: string[] = [];
  const send = Object.getOwnPropertySymbols(brokers).find(({ description }) => description === "private:Broker:sendRequest");
  const broker = Object.create(brokers, {
    lookupRequest: { value: () => (request: unknown) => request },
    [send ?? ""]: {
      value: ({ memberId }: { memberId: string }) => {
        asked.push(memberId);
        const answer = answers.shift();
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    },
  }) as Broker;
  return { broker, asked };
}
const join = (broker: Broker, memberId = "") => broker.joinGroup({ groupId: "group", memberId });

test("a connection that breaks while a new member joins: it comes back with the id that it was given", async () => {
  const { broker, asked } = brokerThat(required(), cut(), cut(), { memberId: "member-1" });
  await expect(join(broker)).rejects.toThrow("ECONNRESET");
  await expect(join(broker)).rejects.toThrow("ECONNRESET");
  expect(await join(broker)).toEqual({ memberId: "member-1" });
  expect(asked).toEqual(["", "member-1", "member-1", "member-1"]);
});

test.each([
  { what: "once it has joined", answers: [required(), { memberId: "member-1" }] },
  { what: "when the group does not know it any more", answers: [required(), cut(), new Error("UNKNOWN_MEMBER_ID")] },
])("an id is forgotten $what: without one of its own a member is a new one", async ({ answers }) => {
  const { broker, asked } = brokerThat(...answers, { memberId: "member-2" });
  while (asked.length < answers.length) await join(broker).catch(() => undefined);
  await join(broker);
  expect(asked.at(-1)).toBe("");
});

test.each([
  { what: "again while the group remembers it", error: cut(), tries: 2 },
  { what: "no more when it is refused", error: new Error("GROUP_AUTHORIZATION_FAILED"), tries: 1 },
])("a consumer joins $what", async ({ error, tries }) => {
  const attempt = vi.fn<() => Promise<void>>().mockRejectedValueOnce(error).mockResolvedValue();
  const group = Object.create(groups, { sessionTimeout: { value: 10_000 }, retrier: { value: attempt } }) as typeof groups;
  const outcome = await group.joinAndSync().then(
    () => "joined",
    () => "failed",
  );
  expect(outcome).toBe(tries === 2 ? "joined" : "failed");
  expect(attempt).toHaveBeenCalledTimes(tries);
});
