// `node health.mjs URL`: exit code 0 when the address answers with 2xx. For health checks of containers, whose images bring no HTTP client but Node.
const answer = await fetch(process.argv[2] ?? "", { signal: AbortSignal.timeout(4_000) }).catch(() => null);
process.exitCode = answer?.ok === true ? 0 : 1;
