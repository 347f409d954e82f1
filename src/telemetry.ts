/**
 * Names that Nightshift writes on spans and headers: one table, so that dashboards, alerts and docs can be checked against it. What it measures of itself is
 * named in `telemetry/metrics.ts`.
 */
export const ATTRIBUTE = {
  adapter: "nightshift.adapter",
  adapterName: "nightshift.adapter.name",
  assignmentKey: "nightshift.assignment.key",
  assignmentWeak: "nightshift.assignment.weak_key",
  assignmentArm: "nightshift.assignment.arm",
  assignmentProbability: "nightshift.assignment.probability",
  experiment: "nightshift.experiment.id",
  routeVersion: "nightshift.route.version",
  fallback: "nightshift.fallback",
  consent: "nightshift.consent",
  piiUnredacted: "nightshift.pii_unredacted",
  runId: "nightshift.run.id",
  runStepName: "nightshift.run.step.name",
} as const;

/** Instrumentation scopes. Only the gateway's live scope is capture data; every other `nightshift.` scope is dropped at ingest. */
export const SCOPE = { gateway: "nightshift.gateway", own: "nightshift.internal" } as const;

/** Headers on answers of the gateway and of the control service, and those that the gateway reads. */
export const HEADER = {
  adapter: "x-nightshift-adapter",
  arm: "x-nightshift-arm",
  trajectoryId: "x-trajectory-id",
  sessionId: "x-session-id",
  /** On the control service's answers about routes: when its leader last stood by them, in milliseconds after the request came; before it where negative. */
  confirmed: "x-nightshift-confirmed-ms",
} as const;

/** Name of the gateway's span that announces a key's assignment, ahead of the spans of its calls. */
export const ASSIGNMENT_SPAN = "nightshift.assign";

/** Nightshift's own spans, in scope `SCOPE.own`. */
export const SPAN = {
  /** One durable step of a run that was worked on. All steps of a run are one trace, whose id is the run's, also across restarts. */
  runStep: "nightshift.run.step",
} as const;
