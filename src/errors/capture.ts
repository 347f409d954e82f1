import type { Row } from "./row.ts";

export const CAPTURE = {
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
} as const satisfies Record<string, Row>;
