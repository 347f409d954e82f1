"""The embedded policy server: vLLM's HTTP contract for quickstart and tests, on transformers and PEFT."""
