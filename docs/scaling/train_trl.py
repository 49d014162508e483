"""Training with PMD in TRL: accelerate launch --config_file accelerate.yaml train_trl.py --config pmd.yaml."""

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import TrlParser

from pmdtheory.integrations.trl import PMDConfig, PMDTrainer


def exact(completions, answer, **_):
    """1 where the text after the last `#` is the answer."""
    return [
        float(text.rpartition("#")[2].strip() == right.strip()) for text, right in zip(completions, answer, strict=True)
    ]


def main(model, tokenizer, data, config, reward=exact):
    """Train on prompts with answers; returns the trainer."""
    trainer = PMDTrainer(
        model=model, reward_funcs=reward, args=config, train_dataset=data, processing_class=tokenizer
    )  # fmt: skip
    trainer.train()
    return trainer


if __name__ == "__main__":
    (config,) = TrlParser((PMDConfig,)).parse_args_and_config()
    name = "Qwen/Qwen2.5-1.5B-Instruct"  # put your own model and data, with columns prompt and answer, here
    main(
        AutoModelForCausalLM.from_pretrained(name, dtype="float32"),
        AutoTokenizer.from_pretrained(name),
        load_dataset("json", data_files="problems.jsonl", split="train"),
        config,
    )
