import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

interface JoinRequest {
  memberId?: string;
}

/** One broker as one consumer knows it: kafkajs makes a set of them for each client. */
interface Broker {
  lookupRequest(this: Broker, apiKey: number, versions: unknown): (request: object) => unknown;
  joinGroup: (this: Broker, request: JoinRequest) => Promise<unknown>;
  [sendRequest: symbol]: (request: unknown) => Promise<unknown>;
}

interface ConsumerGroup {
  sessionTimeout: number;
  joinAndSync: (this: ConsumerGroup) => Promise<unknown>;
}

interface KafkajsError extends Error {
  memberId?: string;
}

const MENDED = Symbol.for("nightshift.kafkajs.membership");
const PAUSE_MS = 250;
const UNREACHED = new Set([
  "KafkaJSConnectionError",
  "KafkaJSConnectionClosedError",
  "KafkaJSRequestTimeoutError",
  "KafkaJSGroupCoordinatorNotFound",
  "KafkaJSBrokerNotFound",
]);

/**
 * Mends how kafkajs 2.2.4 joins a consumer group over a connection that breaks: it forgets the id that it was just given and gives up, and the next consumer comes as
 * another member. The forgotten one holds up every rebalance until its session is over; on a network that breaks more often than that, the group never forms again.
 * A consumer comes back as the member that it was, for as long as the group remembers that one.
 */
export function mendMembership(): void {
  const load = createRequire(import.meta.url);
  const { prototype: broker } = load("kafkajs/src/broker/index.js") as { prototype: Broker & { [MENDED]?: true } };
  if (broker[MENDED]) return;
  broker[MENDED] = true;
  const send = Object.getOwnPropertySymbols(broker).find(({ description }) => description === "private:Broker:sendRequest");
  if (send === undefined) throw new Error("kafkajs is not the release that this mends");
  const { requests } = load("kafkajs/src/protocol/requests/index.js") as { requests: { JoinGroup: unknown } };
  const { JoinGroup: apiKey } = load("kafkajs/src/protocol/requests/apiKeys.js") as { JoinGroup: number };
  /** Ids that the group gave and that have not joined yet. */
  const given = new WeakMap<Broker, string>();

  broker.joinGroup = async function joinAsTheSameMember(this: Broker, request) {
    const ask = async (memberId: string) => {
      const answer = await this[send]?.(this.lookupRequest(apiKey, requests.JoinGroup)({ protocolType: "consumer", ...request, memberId }));
      given.delete(this);
      return answer;
    };
    const known = request.memberId || given.get(this) || "";
    try {
      return await ask(known);
    } catch (cause) {
      const error = cause as KafkajsError;
      const isNew = error.name === "KafkaJSMemberIdRequired";
      const memberId = isNew ? error.memberId : known;
      if (memberId !== undefined && (isNew || isUnreached(error))) given.set(this, memberId);
      else given.delete(this);
      if (isNew && memberId !== undefined) return ask(memberId);
      throw error;
    }
  };

  const { prototype: group } = load("kafkajs/src/consumer/consumerGroup.js") as { prototype: ConsumerGroup };
  const { joinAndSync } = group;
  group.joinAndSync = async function joinWhileTheGroupRemembers(this: ConsumerGroup) {
    const giveUpMs = performance.now() + this.sessionTimeout;
    for (;;) {
      try {
        return await joinAndSync.call(this);
      } catch (error) {
        if (!isUnreached(error) || performance.now() > giveUpMs) throw error;
        await sleep(PAUSE_MS);
      }
    }
  };
}

function isUnreached(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return UNREACHED.has(error.name) || isUnreached(error.cause);
}
