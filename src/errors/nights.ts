import type { Row } from "./row.ts";

export const NIGHTS = {
  // artifact
  artifact_corrupt: {
    message: (a: { what: string; problem: string }) => `artifact ${a.what} is corrupt: ${a.problem}`,
    fix: "Restore the artifact from a backup, or delete it and let it be made again; corrupt bytes are never handed out.",
    retryable: false,
  },
  artifact_exists: {
    message: (a: { name: string }) => `artifact ${a.name} is already published with other content`,
    fix: "Publish under a new name: what was published is never changed.",
    retryable: false,
  },
  artifact_name_invalid: {
    message: (a: { name: string }) => `artifact name ${a.name} is not allowed`,
    fix: "Use slash-separated segments of a-z, 0-9, dot, underscore and dash that do not start with a dot.",
    retryable: false,
  },
  artifact_store_unavailable: {
    message: (a: { where: string; problem: string }) => `the artifact store ${a.where} did not answer: ${a.problem}`,
    fix: "Check that the store runs and is reachable under artifacts.endpoint; what needs it waits and goes on by itself, what is loaded keeps serving.",
    retryable: true,
  },
  artifact_store_refused: {
    message: (a: { where: string; problem: string }) => `the artifact store ${a.where} refused this client: ${a.problem}`,
    fix: "Correct the credentials, the bucket or the region, or allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket below the prefix; what needs the store waits and goes on by itself.",
    retryable: true,
  },
  artifact_too_large: {
    message: (a: { what: string; bytes: number; maxBytes: number }) =>
      `${a.what} has ${a.bytes} bytes, the artifact store takes ${a.maxBytes}`,
    fix: "Raise artifacts.maxObjectBytes, or train an adapter of a smaller rank.",
    retryable: false,
  },
  artifact_credentials_unreadable: {
    message: (a: { source: string; problem: string }) => `the artifact store's credentials cannot be read from ${a.source}: ${a.problem}`,
    fix: "Set artifacts.accessKeyIdFile and artifacts.secretAccessKeyFile to readable files, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.",
    retryable: false,
  },
  signing_key_invalid: {
    message: (a: { file: string; problem: string }) => `the signing key ${a.file} cannot be used: ${a.problem}`,
    fix: "Restore the ed25519 key (PEM, readable by this process only); a new key makes the agents refuse older adapters.",
    retryable: false,
  },
  public_key_invalid: {
    message: (a: { file: string; problem: string }) =>
      `the public key ${a.file} that adapters are checked with cannot be used: ${a.problem}`,
    fix: "Copy keys/adapter-signing.pub.pem from the dataDir of `nightshift serve`, whose first start makes it (the public half of artifacts.signingKeyFile, where that is set), to where adapterAgent.publicKeyFile says.",
    retryable: false,
  },
  signing_key_differs: {
    message: (a: { id: string; expected: string }) =>
      `the signing key of this process is ${a.id}, the adapters in the database were signed with ${a.expected}`,
    fix: "Give every replica of the control service the same key: artifacts.signingKeyFile, or keys/adapter-signing.pem below dataDir. After a change of the key on purpose, delete the row signing_key of table settings.",
    retryable: false,
  },
  // serving
  policy_server_unavailable: {
    message: (a: { url: string; problem: string }) => `policy server ${a.url} did not answer: ${a.problem}`,
    fix: "Check that the server runs and is reachable; the call is repeated on its own.",
    retryable: true,
  },
  policy_server_refused: {
    message: (a: { url: string; path: string; status: number; problem: string }) =>
      `policy server ${a.url} refused ${a.path} with HTTP ${a.status}: ${a.problem}`,
    fix: "Read the reason: an unknown model means that the adapter is not loaded, a length means that max-model-len is too small for the conversation.",
    retryable: false,
  },
  policy_server_answer_invalid: {
    message: (a: { url: string; where: string }) => `policy server ${a.url} answered 200 with a body that cannot be used: ${a.where}`,
    fix: "Serve with vLLM 0.10.2 or newer (for return_token_ids) and --logprobs-mode processed_logprobs, and point the url at it directly.",
    retryable: false,
  },
  artifact_missing: {
    message: (a: { what: string }) => `${a.what} is not in the artifact store`,
    fix: "Restore the artifact store together with the database: `nightshift doctor` compares the two.",
    retryable: false,
  },
  control_unavailable: {
    message: (a: { url: string; problem: string }) => `the control service at ${a.url} did not answer: ${a.problem}`,
    fix: "Check that `nightshift serve` runs, that the address is its API's, and that the token is of the role that this process has.",
    retryable: true,
  },
  adapter_refused: {
    message: (a: { adapter: string; replica: string; reason: string }) => `replica ${a.replica} refused adapter ${a.adapter}: ${a.reason}`,
    fix: "`nightshift adapters show` has the figures of the proof; `nightshift doctor` compares the replica's base model and flags.",
    retryable: false,
  },
  tenant_unknown: {
    message: (a: { tenant: string }) => `no tenant ${a.tenant} is configured`,
    fix: "Add it under tenants in the config, or point the sender at the right credential.",
    retryable: false,
  },
  // training
  adapter_slots_exceeded: {
    message: (a: { url: string; slots: number; wanted: number; agents: number }) =>
      `policy server ${a.url} holds ${a.slots} adapters; with tonight's it would have to hold ${a.wanted}: stable, candidates and last known good of ${a.agents === 1 ? "its agent" : `the ${a.agents} agents that share it`}`,
    fix: "Start the server with a larger --max-loras (and --max-cpu-loras), give agents servers of their own, or end a canary; where it holds more than it says, set policyServers[].adapterSlots.",
    retryable: false,
  },
  run_cancelled: {
    message: (a: { run: string; actor: string }) => `run ${a.run} was cancelled by ${a.actor}`,
    fix: "Nothing to do; `nightshift run` starts another.",
    retryable: false,
  },
  run_in_progress: {
    message: (a: { agent: string; run: string }) => `agent ${a.agent} already has a run in progress: ${a.run}`,
    fix: "Wait for it to end (`nightshift runs show`); an agent trains one adapter at a time.",
    retryable: true,
  },
  run_lost_subject: {
    message: (a: { run: string }) => `run ${a.run} was ended: a subject was erased whose rollouts it had handed to its trainer`,
    fix: "Start another one with `nightshift run`; it leaves the subject out. What the ended run trained is not promoted.",
    retryable: false,
  },
  run_plan_unknown: {
    message: (a: { run: string; what: string }) =>
      `run ${a.run} was started by another version, with settings that this one does not know: ${a.what}`,
    fix: "Start another one with `nightshift run`; what the ended run trained stays in its directory.",
    retryable: false,
  },
  replay_agent_missing: {
    message: (a: { agent: string; scenario: string }) =>
      `scenario ${a.scenario} was chosen to be played by the agent itself, and agents.${a.agent}.replay.agent is not configured any more`,
    fix: "Put `replay.agent` back, or start another run: it chooses another way to play.",
    retryable: false,
  },
  run_refused: {
    message: (a: { agent: string; problem: string }) => `no run for agent ${a.agent}: ${a.problem}`,
    fix: "Read `nightshift report` for what was captured and why it does not train; `nightshift run --dry-run` says what a run would do.",
    retryable: false,
  },
  trainer_no_capacity: {
    message: (a: { run: string; waitedMs: number; detail: string }) =>
      `the trainer of run ${a.run} found no place to run for ${Math.round(a.waitedMs / 60_000)} minutes: ${a.detail}`,
    fix: "Nothing is wrong with the run; the next night tries again. Free or add a node that the trainer's resources, nodeSelector and tolerations fit, raise the quota or the queue's share, or let it wait longer (training.jobRunner.unschedulableAfterMs).",
    retryable: true,
  },
  trainer_job_refused: {
    message: (a: { run: string; status: number; problem: string }) =>
      `the Kubernetes API refused the trainer's Job of run ${a.run} with ${a.status}: ${a.problem}`,
    fix: "403: give the service account of `nightshift serve` create, get, delete, list and watch of jobs and get, list and watch of pods, or raise the namespace's quota. 400 and 422: correct the field that is named in training.jobRunner or its jobTemplate. 404: create the namespace. `nightshift doctor` tries all of it.",
    retryable: false,
  },
  job_template_invalid: {
    message: (a: { field: string; problem: string }) => `training.jobRunner.jobTemplate: ${a.field} ${a.problem}`,
    fix: "Take the field out of the template, or correct it; it is merged into Nightshift's Job as `kubectl patch --type strategic` does.",
    retryable: false,
  },
  trainer_failed: {
    message: (a: { run: string; exitCode: number | null; detail: string }) =>
      `the trainer of run ${a.run} ended with exit code ${a.exitCode ?? "none"}: ${a.detail}`,
    fix: "64 is a bad config, 65 a bad batch: the detail names the place. Other codes are retried; read the trainer's log at level debug.",
    retryable: false,
  },
  trainer_silent: {
    message: (a: { run: string; silentMs: number }) => `the trainer of run ${a.run} gave no heartbeat for ${a.silentMs} ms`,
    fix: "The trainer is started again from its newest checkpoint; if it repeats, look at memory and disk.",
    retryable: true,
  },
  batch_invalid: {
    message: (a: { group: string; line: number; problem: string }) => `group ${a.group} (line ${a.line}) is not trainable: ${a.problem}`,
    fix: "Rollouts must carry token ids and processed logprobs, sampled with top_p 1, top_k off and min_p 0; check the policy server's flags.",
    retryable: false,
  },
  batch_exists: {
    message: (a: { directory: string; found: string }) => `${a.directory} already holds another batch (${a.found})`,
    fix: "A run directory belongs to one run: start the night again under a new run id.",
    retryable: false,
  },
  // rollout
  replay_tenants_mixed: {
    message: (a: { tenants: string }) => `tapes of several tenants in one replay pool: ${a.tenants}`,
    fix: "Build one pool per tenant; tapes never answer across tenants.",
    retryable: false,
  },
  // reward
  live_read_failed: {
    message: (a: { tool: string; problem: string }) => `the live read of ${a.tool} gave no answer: ${a.problem}`,
    fix: "Look at the endpoint under replay.liveReads.tools and at its credential; the call is answered by the simulator, or is a miss.",
    retryable: true,
  },
  replay_key_unreadable: {
    message: (a: { source: string; problem: string }) => `a credential of replay cannot be read from ${a.source}: ${a.problem}`,
    fix: "Point replay.liveReads.apiKeyFile at a readable file or replay.liveReads.apiKeyEnv at a variable that is set.",
    retryable: false,
  },
  drift_unmeasurable: {
    message: (a: { agent: string; problem: string }) => `the drift of ${a.agent}'s recordings cannot be measured: ${a.problem}`,
    fix: "List tools below agents.<name>.replay.liveReads.tools, give them tools.<name>.class: read, and name a credential that can only read.",
    retryable: false,
  },
  judge_unavailable: {
    message: (a: { model: string; problem: string }) => `judge ${a.model} did not answer: ${a.problem}`,
    fix: "Check the judge's base URL, key and quota; the group is judged again later, and nothing is scored zero meanwhile.",
    retryable: true,
  },
  judge_refused: {
    message: (a: { model: string; status: number; problem: string }) =>
      `judge ${a.model} refused the request with HTTP ${a.status}: ${a.problem}`,
    fix: "Read the reason: a wrong key, an unknown model, or a context window smaller than the prompt.",
    retryable: false,
  },
  judge_reply_invalid: {
    message: (a: { model: string; asks: number; problem: string }) =>
      `judge ${a.model} gave no usable reply in ${a.asks} asks: ${a.problem}`,
    fix: "Use a judge that follows a JSON schema; the group counts as unjudged and is not trained on.",
    retryable: false,
  },
  judge_input_too_large: {
    message: (a: { group: string; maxTokens: number }) =>
      `${a.group} does not fit a judge's prompt of ${a.maxTokens} tokens, however much is cut`,
    fix: "Fewer members (night.groupSize) or shorter rollouts (replay.maxCalls) make a smaller prompt.",
    retryable: false,
  },
  judge_budget_spent: {
    message: (a: { model: string; used: string; budget: string }) => `judge ${a.model} has used ${a.used} of this run's ${a.budget}`,
    fix: "The run goes on with what is scored; raise judge.maxTokensPerRun or judge.maxCostPerRun (pairJudge's for a gate) to score more.",
    retryable: false,
  },
  reward_check_invalid: {
    message: (a: { module: string; problem: string }) => `reward check ${a.module}: ${a.problem}`,
    fix: "The module exports checkAttempt(attempt): a number from 0 to 1, or null where it cannot tell. The group counts as unjudged until it does.",
    retryable: false,
  },
  judge_key_unreadable: {
    message: (a: { source: string; problem: string }) => `the judge's API key cannot be read from ${a.source}: ${a.problem}`,
    fix: "Point judge.apiKeyFile at a readable file or judge.apiKeyEnv at a variable that is set.",
    retryable: false,
  },
  tool_implementation_invalid: {
    message: (a: { tool: string; module: string; problem: string }) => `implementation of tool ${a.tool}, ${a.module}: ${a.problem}`,
    fix: "The module's default export is a function of the arguments; set it for tools of class pure only.",
    retryable: false,
  },
  judge_module_invalid: {
    message: (a: { module: string; problem: string }) => `scripted judge ${a.module}: ${a.problem}`,
    fix: "The module exports scoreGroup(members), one number in 0..1 per member, and comparePair(first, second): 1, 0 or 0.5.",
    retryable: false,
  },
  labels_invalid: {
    message: (a: { file: string; line: number; field: string; problem: string; received: string }) =>
      `${a.file}:${a.line}: ${a.field}: ${a.problem} (received ${a.received})`,
    fix: "Correct the line: docs/judge.md has both kinds of label with an example of each.",
    retryable: false,
  },
  labels_unreadable: {
    message: (a: { file: string; problem: string }) => `the labels ${a.file} cannot be read: ${a.problem}`,
    fix: "Name a JSON Lines file of at most 16 MiB that this user may read.",
    retryable: false,
  },
  calibration_too_small: {
    message: (a: { labels: number; needed: number }) => `${a.labels} labels prefer one attempt to another, a calibration needs ${a.needed}`,
    fix: "Label more: below twenty the agreement may be almost anything. Ties say nothing about agreement.",
    retryable: false,
  },
  calibration_incomplete: {
    message: (a: { unanswered: number; labels: number; code: string }) =>
      `the judge gave no answer for ${a.unanswered} of ${a.labels} labels (${a.code}); nothing was recorded`,
    fix: "Look the code up in docs/errors.md, mend it and calibrate again: what was answered comes from the cache.",
    retryable: true,
  },
  judge_below_agreement: {
    message: (a: { agent: string; agreement: number; minAgreement: number }) =>
      `no run for agent ${a.agent}: its judge agrees with people on ${a.agreement.toFixed(2)} of pairs, below judge.minAgreement ${a.minAgreement}`,
    fix: "Use a judge that agrees more, or run it all the same with `nightshift run --force-judge`; nothing is promoted on its own then.",
    retryable: false,
  },
} as const satisfies Record<string, Row>;
