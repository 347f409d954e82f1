/**
 * What every replica of the control service reads in the database, so that it is known whoever leads and after any restart, and what any process knows of its disk; a part of the table in
 * `metrics.ts`, which says what a metric is.
 */
export const STATE = {
  runLastGoodAge: {
    name: "nightshift.run.last_good.age",
    kind: "observable gauge",
    unit: "s",
    description:
      "Time since a night last ended with `candidate` or `nothing_to_learn`; since the first one began where none has. Absent before the first. Every replica tells the same.",
    attributes: ["nightshift.agent"],
  },
  runOpen: {
    name: "nightshift.run.open",
    kind: "observable gauge",
    unit: "{run}",
    description: "Nights without an end: `working`, or `waiting` in the queue for the others. Every replica tells the same.",
    attributes: ["nightshift.agent", "nightshift.state"],
  },
  runOpenAge: {
    name: "nightshift.run.open.age",
    kind: "observable gauge",
    unit: "s",
    description: "Time since the night that has no end yet was asked for; 0 without one. Every replica tells the same.",
    attributes: ["nightshift.agent"],
  },
  alarmOpen: {
    name: "nightshift.alarm.open",
    kind: "observable gauge",
    unit: "{alarm}",
    description:
      "Alarms about the newest candidate's rewards that nobody has acknowledged; it waits for that. Every replica tells the same.",
    attributes: ["nightshift.agent"],
  },
  promotionState: {
    name: "nightshift.promotion.state",
    kind: "observable gauge",
    unit: "{promotion}",
    description: "1 for the state of the live promotion, or of the newest where none is live, 0 for all others. Every replica tells the same.",
    attributes: ["nightshift.agent", "nightshift.state"],
  },
  promotionStateAge: {
    name: "nightshift.promotion.state.age",
    kind: "observable gauge",
    unit: "s",
    description: "How long that promotion has been in its state. Absent before the first promotion. Every replica tells the same.",
    attributes: ["nightshift.agent"],
  },
  storeSize: {
    name: "nightshift.store.size",
    kind: "observable gauge",
    unit: "By",
    description: "What the database takes on its disk, as it says itself. Every replica tells the same.",
    attributes: [],
  },
  diskSize: {
    name: "nightshift.disk.size",
    kind: "observable gauge",
    unit: "By",
    description: "Size of the file system that `dataDir` lies on. Absent where the directory is not there.",
    attributes: [],
  },
  diskFree: {
    name: "nightshift.disk.free",
    kind: "observable gauge",
    unit: "By",
    description: "What this process may still write there.",
    attributes: [],
  },
} as const;
