"""A step of GRPO in TRL against the same step in `tiny_llm_rl`, on the size that `tiny_llm_rl` is made for."""
