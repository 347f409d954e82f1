/* oxlint-disable max-lines -- a table: one row per error */
/**
 * Every error that Nightshift raises: one class, one table. `message` says what failed, with the value; `fix` says what the operator does.
 * `retryable` tells a caller whether the same call may succeed later with nothing changed. Rows are grouped by room.
 */
const TABLE = {
  // root
  config_invalid: {
    message: (a: { path: string; received: string; problem: string }) => `config ${a.path}: ${a.problem} (received ${a.received})`,
    fix: "Correct the value in the config file or its NIGHTSHIFT_ environment variable; `nightshift init` prints every key with its meaning.",
    retryable: false,
  },
  config_unreadable: {
    message: (a: { file: string; problem: string }) => `config file ${a.file} cannot be read: ${a.problem}`,
    fix: "Pass an existing YAML file with --config, or leave it out to run on defaults.",
    retryable: false,
  },
  port_taken: {
    message: (a: { what: string; host: string; port: number }) => `${a.what} cannot listen on ${a.host}:${a.port}: the port is taken`,
    fix: "Stop the other process or set another port for this listener in the config.",
    retryable: false,
  },
  disk_full: {
    message: (a: { what: string; path: string }) => `${a.what} could not be written below ${a.path}: no space left on the device`,
    fix: "Free disk space or move dataDir to a larger volume; nothing that was acknowledged is lost.",
    retryable: true,
  },
  // command line
  python_unusable: {
    message: (a: { python: string; problem: string }) => `Python ${a.python} cannot run the trainer: ${a.problem}`,
    fix: "`npm run quickstart` prepares .venv with everything in it; or point `python` in the config at a Python >= 3.11 that has trainer/requirements.txt.",
    retryable: false,
  },
  usage_invalid: {
    message: (a: { problem: string }) => a.problem,
    fix: "`nightshift COMMAND --help` shows the command's arguments with examples.",
    retryable: false,
  },
  api_unreachable: {
    message: (a: { url: string; problem: string }) => `Nightshift's API at ${a.url} does not answer: ${a.problem}`,
    fix: "Start it with `nightshift up --config FILE`, or name its address with --url or NIGHTSHIFT_URL.",
    retryable: true,
  },
  api_answer_invalid: {
    message: (a: { url: string; status: number; problem: string }) => `${a.url} answered HTTP ${a.status}: ${a.problem}`,
    fix: "Check that --url names Nightshift's API (port 4400 unless configured) and that both sides have the same version.",
    retryable: false,
  },
  import_file_unreadable: {
    message: (a: { file: string; problem: string }) => `${a.file} cannot be read: ${a.problem}`,
    fix: "Name existing files that this user may read; gzip and zstd are unpacked while they are read.",
    retryable: false,
  },
  import_record_unreadable: {
    message: (a: { file: string; at: string; problem: string }) => `${a.file}:${a.at}: ${a.problem}`,
    fix: "Export the file again where its end is missing; `nightshift import --help` lists the formats that can be read.",
    retryable: false,
  },
  import_record_invalid: {
    message: (a: { file: string; at: string; problem: string; received: string }) =>
      `${a.file}:${a.at}: ${a.problem} (received ${a.received})`,
    fix: "Correct the record or take it out and import the file again: what has been imported already is not stored twice. --format names the format where it was guessed wrong.",
    retryable: false,
  },
  import_record_too_large: {
    message: (a: { file: string; at: string; bytes: number; maxBytes: number }) =>
      `${a.file}:${a.at}: the record has ${a.bytes} bytes or more, ${a.maxBytes} are taken`,
    fix: "Export it as JSON lines, one conversation or observation per line, or raise --max-record-bytes together with collector.maxBodyBytes.",
    retryable: false,
  },
  import_refused: {
    message: (a: { url: string; status: number; problem: string }) =>
      `the collector at ${a.url} refused with HTTP ${a.status}: ${a.problem}`,
    fix: "Check that --endpoint names Nightshift's collector (port 4318 unless configured) and that the token is a collector token of the right tenant.",
    retryable: false,
  },
  import_unreachable: {
    message: (a: { url: string; seconds: number; problem: string }) =>
      `the collector at ${a.url} took nothing for ${a.seconds} s: ${a.problem}`,
    fix: "Start it, or wait until it takes requests again, and run the same command: what has been imported already is not stored twice.",
    retryable: true,
  },
  // collector, transport and trace
  otlp_malformed: {
    message: (a: { where: string; problem: string }) => `the OTLP request cannot be read: ${a.where}: ${a.problem}`,
    fix: "Point an OTLP exporter (http/protobuf or http/json) at this path; the same bytes will be refused again.",
    retryable: false,
  },
  body_too_large: {
    message: (a: { maxBytes: number }) => `the request body is larger than ${a.maxBytes} bytes`,
    fix: "Make the exporter send smaller batches, or raise collector.maxBodyBytes.",
    retryable: false,
  },
  collector_file_unreadable: {
    message: (a: { file: string; problem: string }) => `the file ${a.file}, named in collector.tls, cannot be read: ${a.problem}`,
    fix: "Point collector.tls at files that this process may read.",
    retryable: false,
  },
  collector_tls_invalid: {
    message: (a: { file: string; problem: string }) => `the certificate ${a.file} and its key cannot be used: ${a.problem}`,
    fix: "collector.tls needs a PEM certificate chain and the PEM private key that belongs to its first certificate.",
    retryable: false,
  },
  collector_open: {
    message: (a: { host: string }) => `the collector would listen on ${a.host} for anybody`,
    fix: "Set tenants.<slug>.collectorTokenHashes, or bind collector.host to a loopback address.",
    retryable: false,
  },
  redaction_key_invalid: {
    message: (a: { file: string; problem: string }) => `the redaction key ${a.file} cannot be used: ${a.problem}`,
    fix: "Put at least 32 random bytes into the file, readable by this process only.",
    retryable: false,
  },
  redaction_key_differs: {
    message: (a: { tenant: string; id: string; expected: string }) =>
      `the redaction key of tenant ${a.tenant} is ${a.id}, what is stored was made with ${a.expected}: one person would get two pseudonyms`,
    fix: "Give every collector and ingest the same tenants.<slug>.redactionKeyFile. After a change of the key on purpose, delete the row redaction_key:<slug> of table settings.",
    retryable: false,
  },
  detector_unavailable: {
    message: (a: { url: string; problem: string }) => `the detector of personal data at ${a.url} did not answer: ${a.problem}`,
    fix: "Start it or make it reachable: conversations wait for it and go on by themselves, none is saved unexamined. With redaction.detector.driver none, none is asked.",
    retryable: true,
  },
  detector_refused: {
    message: (a: { url: string; problem: string }) => `the detector of personal data at ${a.url} could not examine a text: ${a.problem}`,
    fix: "Compare redaction.detector.language and entities with what the analyzer has (`nightshift doctor` asks it); the conversation is put aside and tried again in an hour.",
    retryable: false,
  },
  kafka_unavailable: {
    message: (a: { brokers: string; problem: string }) => `Kafka at ${a.brokers} did not answer: ${a.problem}`,
    fix: "Check that the brokers run and are reachable under the addresses that they advertise; senders keep their records and everything continues on its own.",
    retryable: true,
  },
  kafka_topic_missing: {
    message: (a: { brokers: string; topics: string }) => `Kafka at ${a.brokers} lacks one of the topics ${a.topics}`,
    fix: "Create the topics (`nightshift doctor` names the missing one) or correct transport.topics; everything continues on its own.",
    retryable: true,
  },
  kafka_refused: {
    message: (a: { brokers: string; problem: string }) => `Kafka at ${a.brokers} refused this client: ${a.problem}`,
    fix: "Correct transport.sasl, or allow its user to write and read the topics and to join transport.groupId.",
    retryable: true,
  },
  kafka_file_unreadable: {
    message: (a: { file: string; problem: string }) => `the file ${a.file}, named in transport, cannot be read: ${a.problem}`,
    fix: "Point transport.tls and transport.sasl.passwordFile at files that this process may read.",
    retryable: false,
  },
  kafka_record_invalid: {
    message: (a: { problem: string }) => `the Kafka record is not one of ours: ${a.problem}`,
    fix: "It lies in the dead-letter topic; stop what writes such records, or write them again with headers that Nightshift knows.",
    retryable: false,
  },
  claim_missing: {
    message: (a: { digest: string }) => `a record's body is not in the artifact store: ${a.digest}`,
    fix: "Let artifacts of the collectors and of ingest name one store, or restore it; its partition waits for it, and nothing is lost.",
    retryable: true,
  },
  // store
  data_dir_locked: {
    message: (a: { dir: string; pid: number | string }) => `data directory ${a.dir} is in use by process ${a.pid}`,
    fix: "Stop that process, or give this one a dataDir of its own: the embedded database has exactly one owner.",
    retryable: false,
  },
  data_dir_unusable: {
    message: (a: { dir: string; problem: string }) => `cannot write in the data directory ${a.dir}: ${a.problem}`,
    fix: "Give this user the right to write there, free disk space, or set another dataDir.",
    retryable: false,
  },
  store_unavailable: {
    message: (a: { problem: string }) => `the database did not answer: ${a.problem}`,
    fix: "Check that the database is up and reachable; the operation is repeated on its own.",
    retryable: true,
  },
  store_url_invalid: {
    message: (a: { source: string; problem: string }) => `the database's URL cannot be read from ${a.source}: ${a.problem}`,
    fix: "Put postgres://user:password@host:port/database into the file of store.urlFile or the variable of store.urlEnv; only one of the two.",
    retryable: false,
  },
  store_newer: {
    message: (a: { found: string; known: string }) => `the database has migration ${a.found}, this version knows up to ${a.known}`,
    fix: "Start the newer version of Nightshift, or migrate back with it before you downgrade.",
    retryable: false,
  },
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
  signing_key_differs: {
    message: (a: { id: string; expected: string }) =>
      `the signing key of this process is ${a.id}, the adapters in the database were signed with ${a.expected}`,
    fix: "Give every replica of the control service the same keys/adapter-signing.pem below dataDir. After a change of the key on purpose, delete the row signing_key of table settings.",
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
  run_refused: {
    message: (a: { agent: string; problem: string }) => `no run for agent ${a.agent}: ${a.problem}`,
    fix: "Read `nightshift report` for what was captured and why it does not train; `nightshift run --dry-run` says what a run would do.",
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
    message: (a: { model: string; spent: number; budget: number }) =>
      `judge ${a.model} has used ${a.spent} of ${a.budget} tokens of this run`,
    fix: "The run goes on with what is scored; raise judge.maxTokensPerRun to score more.",
    retryable: false,
  },
  judge_key_unreadable: {
    message: (a: { source: string; problem: string }) => `the judge's API key cannot be read from ${a.source}: ${a.problem}`,
    fix: "Point judge.apiKeyFile at a readable file or judge.apiKeyEnv at a variable that is set.",
    retryable: false,
  },
  judge_module_invalid: {
    message: (a: { module: string; problem: string }) => `scripted judge ${a.module}: ${a.problem}`,
    fix: "The module exports scoreGroup(members), one number in 0..1 per member, and comparePair(first, second): 1, 0 or 0.5.",
    retryable: false,
  },
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
  // api
  not_found: {
    message: (a: { what: string }) => `there is no ${a.what}`,
    fix: "List what there is: `nightshift runs|adapters|trajectories|groups list`.",
    retryable: false,
  },
  request_invalid: {
    message: (a: { problem: string }) => `the request is not valid: ${a.problem}`,
    fix: "Correct the named part of the request; README.md shows the API's requests.",
    retryable: false,
  },
  not_authorised: {
    message: (a: { path: string }) => `${a.path}: the request carries no valid token, or comes from another site`,
    fix: "Send a token of api.tokens as bearer token (--token-file, NIGHTSHIFT_TOKEN_FILE); without any configured, use a loopback address as host.",
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

// oxlint-disable-next-line typescript/no-explicit-any -- each row names its own arguments; the call is checked by ErrorArgs
type Row = { message: (args: any) => string; fix: string; retryable: boolean };

export type ErrorCode = keyof typeof TABLE;
export type ErrorArgs<C extends ErrorCode> = Parameters<(typeof TABLE)[C]["message"]>[0];

export class NightshiftError extends Error {
  readonly code: ErrorCode;
  readonly fix: string;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "NightshiftError";
    this.code = code;
    this.fix = TABLE[code].fix;
    this.retryable = TABLE[code].retryable;
  }
}

/** Builds (does not throw) the error of `code`. Foreign errors travel as `cause`. */
export function nightshiftError<C extends ErrorCode>(code: C, args: ErrorArgs<C>, options?: { cause?: unknown }): NightshiftError {
  const row: Row = TABLE[code];
  return new NightshiftError(code, row.message(args), options);
}

/** All codes with their fixes, for the generated reference and the test that compares both. */
export function errorTable(): readonly { code: ErrorCode; fix: string; retryable: boolean }[] {
  return (Object.keys(TABLE) as ErrorCode[]).map((code) => ({ code, fix: TABLE[code].fix, retryable: TABLE[code].retryable }));
}
