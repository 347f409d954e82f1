/** The trainer's own rows of the table of metrics.ts, which checks them. */
export const TRAINER = {
  trainerHeartbeatAge: {
    name: "nightshift.trainer.heartbeat.age",
    kind: "gauge",
    unit: "s",
    description: "Time since the trainer's heartbeat last changed; 0 while no adapter is awaited.",
    attributes: ["nightshift.agent"],
  },
  trainerWaiting: {
    name: "nightshift.trainer.waiting",
    kind: "gauge",
    unit: "s",
    description:
      "How long a trainer whose adapter is awaited has been without a place to run: no node, no quota, no turn, no image; else 0.",
    attributes: ["nightshift.agent"],
  },
  trainerIdle: {
    name: "nightshift.trainer.idle",
    kind: "counter",
    unit: "s",
    description:
      "Time in which a trainer held its GPU and waited for rollouts. After `training.jobRunner.giveBackAfterIdleMs` it is stopped meanwhile.",
    attributes: ["nightshift.agent"],
  },
  trainerRestarts: {
    name: "nightshift.trainer.restarts",
    kind: "counter",
    unit: "{restart}",
    description: "Trainers that were started again because they had `failed` or fallen `silent`.",
    attributes: ["nightshift.agent", "nightshift.reason"],
  },
} as const;
