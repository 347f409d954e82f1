import type { Row } from "./row.ts";

export const CONTROL = {
  // promotion
  experiment_unknown: {
    message: (a: { id: string }) => `there is no experiment ${a.id}`,
    fix: "`nightshift status` lists the experiments with their ids.",
    retryable: false,
  },
  action_refused: {
    message: (a: { action: string; id: string; state: string; why: string }) =>
      `cannot ${a.action} experiment ${a.id} in state ${a.state}: ${a.why}`,
    fix: "Read the experiment's state with `nightshift status`; only a running canary can be promoted or paused.",
    retryable: false,
  },
  agent_moved: {
    message: (a: { agent: string; tenant: string; expected: string }) =>
      `agent ${a.agent} is tenant ${a.tenant}'s in the config, what was learned under this name is tenant ${a.expected}'s`,
    fix: "Give the other tenant's agent a slug of its own under `agents`: adapters and routes stay with the tenant whose conversations taught them.",
    retryable: false,
  },
  // api
  not_found: {
    message: (a: { what: string }) => `there is no ${a.what}`,
    fix: "List what there is: `nightshift runs|adapters|trajectories|groups list`.",
    retryable: false,
  },
  request_invalid: {
    message: (a: { problem: string }) => `the request is not valid: ${a.problem}`,
    fix: "Correct the named part of the request; docs/production.md shows feedback and erasing, and for all else there is a command (`nightshift --help`).",
    retryable: false,
  },
  not_authorised: {
    message: (a: { path: string }) => `${a.path}: the request carries no valid token, or comes from another site`,
    fix: "Send a token of api.tokens or tenants.<slug>.apiTokens as bearer token (--token-file, NIGHTSHIFT_TOKEN_FILE); without any configured, use a loopback address as host.",
    retryable: false,
  },
  api_open: {
    message: (a: { host: string }) => `the API would listen on ${a.host} without a credential`,
    fix: "Set api.tokens (`nightshift token --role operator` makes one), or keep api.host on loopback.",
    retryable: false,
  },
  role_refused: {
    message: (a: { role: string; request: string; allowed: string }) =>
      `${a.request}: a token of role ${a.role} may not, one of role ${a.allowed} may`,
    fix: "Use a token of that role; `nightshift token` makes one.",
    retryable: false,
  },
} as const satisfies Record<string, Row>;
