"""Training with TRL: the warm start, GRPO, and what both report."""
