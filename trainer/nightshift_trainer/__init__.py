"""GRPO updates of LoRA adapters from Nightshift rollout groups, and the embedded policy server."""

__version__ = "0.1.0"
