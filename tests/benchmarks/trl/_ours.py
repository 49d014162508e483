"""The child that runs `tiny_llm_rl`: one whole `Run.batch()` for every line it is sent."""

import sys

from tests.benchmarks.trl._workload import ROLLOUTS, TOKENS, Clock, case, pin, prompt, reply, reward


def main(threads, prompts, minibatches, shuffle, measure_every):
    pin(threads)
    import jax

    from tiny_llm_rl.config import TrainConfig
    from tiny_llm_rl.model import ModelConfig, Transformer
    from tiny_llm_rl.tasks.digit_sum import DigitSum
    from tiny_llm_rl.tokenizer import Tokenizer
    from tiny_llm_rl.train import Run

    class Fixed(DigitSum):
        """The prompts and the reward of the other side."""

        def draw(self, rng):
            return prompt(rng)

        def reward(self, prompt, response):
            return reward(response)

    task = Fixed((8,))
    assert (task.prompt_slots, task.response_slots) == (16, TOKENS)
    tokenizer = Tokenizer(task.alphabet)
    model = Transformer(ModelConfig(vocabulary=tokenizer.size, width=64, layers=3, heads=2), jax.random.key(0))
    # One coordinate of the stream is a constant, and the end symbol's logit falls with it: no response ends.
    weights = (model.embedding.at[:, 0].set(4.0), model.head.at[0, 1].set(-50.0))
    object.__setattr__(model, "embedding", weights[0])
    object.__setattr__(model, "head", weights[1])
    config = TrainConfig(
        algorithm="grpo", prompts=prompts, rollouts=ROLLOUTS, minibatches=minibatches, epochs=1, batches=10**6,
        shuffle=shuffle, evaluate_every=10**6, measure_every=measure_every, learning_rate=1e-4, seed=0,
    )  # fmt: skip
    run = Run(config, (model, task, tokenizer))
    clock, seen = Clock(), 0
    while True:
        clock.start()
        failed, record = run.batch()
        assert failed is None, failed
        tokens = run.totals["tokens_sampled"] - seen
        seen = run.totals["tokens_sampled"]
        assert tokens == prompts * ROLLOUTS * TOKENS, f"{tokens} tokens: a response ended early"
        clock.phases = record["seconds"]
        if not reply(clock.record(tokens=tokens, parameters=model.config.parameters)):
            return


if __name__ == "__main__":
    main(*case(sys.argv[1:]), sys.argv[4], int(sys.argv[5]))
