"""Run by `test_scaling_trl.py` on two processes: one step of plain gradient descent, and all it was made from."""

import sys
from pathlib import Path

import torch
from datasets import Dataset

from pmdtheory.integrations.trl import PMDConfig, PMDTrainer
from tests.integrations.tiny_torch import PROMPTS, model, reward, tokenizer


def main(out):
    torch.set_num_threads(1)
    config = PMDConfig(
        str(out), tau=0.2, member="pmd-part", num_generations=4, per_device_train_batch_size=2, steps_per_generation=2,
        gradient_accumulation_steps=2, num_iterations=2, max_completion_length=6, learning_rate=1.0, optim="sgd",
        max_steps=1, use_cpu=True, bf16=False, report_to="none", save_strategy="no", gradient_checkpointing=False,
        disable_tqdm=True, lr_scheduler_type="constant", max_grad_norm=1e9, mask_truncated_completions=True,
    )  # fmt: skip
    policy = model()
    before = [weight.detach().clone() for weight in policy.parameters()]
    trainer = PMDTrainer(
        model=policy, reward_funcs=reward, args=config, processing_class=tokenizer(),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
    )  # fmt: skip
    trainer.train()
    rank = trainer.accelerator.process_index
    after = [weight.detach() for weight in trainer.accelerator.unwrap_model(trainer.model).parameters()]
    record = {
        "parts": trainer._buffered_inputs,
        "rewards": trainer._rewards,
        "step": [old - new for old, new in zip(before, after, strict=True)],
        "processes": trainer.accelerator.num_processes,
    }
    torch.save(record, out / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
