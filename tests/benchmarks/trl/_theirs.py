"""The child that runs TRL's `GRPOTrainer` as it is: one batch of rollouts and its updates for every line it is sent."""

import os
import sys
import tempfile
import time

from tests.benchmarks.trl._workload import CONFIG, ROLLOUTS, SYMBOLS, TOKENS, Clock, case, pin, prompt, reply, reward


def timed(clock, owner, name, phase):
    """Replace a method by one that is charged to a phase; the phases named here do not contain one another."""
    method = getattr(owner, name)

    def call(*args, **keywords):
        started = time.perf_counter()
        try:
            return method(*args, **keywords)
        finally:
            clock.add(phase() if callable(phase) else phase, time.perf_counter() - started)

    setattr(owner, name, call)


def main(threads, prompts, minibatches):
    batch = prompts * ROLLOUTS
    pin(threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import numpy as np
    import torch
    from datasets import Dataset
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    core = Tokenizer(models.WordLevel({symbol: i for i, symbol in enumerate(SYMBOLS)}, unk_token="~"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="~", eos_token="$", unk_token="~")
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(SYMBOLS), **CONFIG["model"]))
    rng = np.random.default_rng(0)
    clock = Clock()

    class Pace(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 0 or state.global_step % minibatches:
                return
            count = int(trainer._buffered_inputs[0]["completion_mask"].sum()) * minibatches
            assert count == batch * TOKENS, f"{count} tokens: a response ended early"
            if not reply(clock.record(tokens=count, parameters=sum(p.numel() for p in model.parameters()))):
                sys.exit(0)
            clock.start()

    with tempfile.TemporaryDirectory() as directory:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, **_: [reward(text) for text in completions],
            args=GRPOConfig(
                directory,
                per_device_train_batch_size=batch // minibatches,
                steps_per_generation=minibatches,
                num_generations=ROLLOUTS,
                max_completion_length=TOKENS,
                max_steps=10**6,
                generation_kwargs={"min_new_tokens": TOKENS},
                **CONFIG["grpo"],
            ),
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"prompt": [prompt(rng) for _ in range(4096)]}),
            callbacks=[Pace()],
        )
        timed(clock, trainer, "_generate", "generation")
        timed(clock, trainer, "_calculate_rewards", "rewards")
        timed(
            clock, trainer, "_get_per_token_logps_and_entropies",
            lambda: "loss: log-probabilities" if torch.is_grad_enabled() else "old log-probabilities",
        )  # fmt: skip
        timed(clock, trainer.accelerator, "backward", "backward")
        trainer.create_optimizer()
        timed(clock, trainer.optimizer, "step", "optimiser")
        trainer.train()


if __name__ == "__main__":
    main(*case(sys.argv[1:]))
