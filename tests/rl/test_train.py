"""Training of a language model: the same bits every time, also after being killed; failures end in a status."""

import dataclasses
import json
import math
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from tests.wrong import refused
from tiny_llm_rl import _run, _update, checkpoint, instruments, mesh
from tiny_llm_rl import train as training
from tiny_llm_rl._update import Batch, clipped, compiled, make_optimiser, sequence_log_probs, update
from tiny_llm_rl.algorithm import ALGORITHMS, READERS, LossConfig
from tiny_llm_rl.checkpoint import peek
from tiny_llm_rl.config import SHUFFLES, TrainConfig
from tiny_llm_rl.evaluate import evaluate, interval
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.pretrain import PretrainConfig, measured, pretrain
from tiny_llm_rl.rollout import log_probs
from tiny_llm_rl.runlog import RunDirectory
from tiny_llm_rl.tasks import Task, make
from tiny_llm_rl.tokenizer import Tokenizer
from tiny_llm_rl.train import Run, RunStatus, base_of, load_base, train, training_prompts
from tiny_llm_rl.weights import load_model, save_model

pytestmark = pytest.mark.jax


class Parity(Task):
    """A task that a random model can be rewarded in: the first symbol of the response must be 'b'."""

    name, alphabet, prompt_slots, response_slots = "parity", "ab", 6, 3

    def draw(self, rng):
        return "".join("ab"[bit] for bit in rng.integers(0, 2, 6))

    def demonstration(self, prompt, rng, wrong=0.0):
        return "a" if rng.random() < wrong else "b"

    def reward(self, prompt, response):
        return float(response.startswith("b"))

    def answer(self, response):
        return response[:1]


def base():
    return Transformer(ModelConfig(4, 8, 1, 1), jax.random.key(0)), Parity(), Tokenizer("ab")


SMALL = TrainConfig(
    prompts=4, rollouts=8, batches=4, minibatches=2, learning_rate=2e-2, tau=0.3, evaluate_every=2, evaluation_prompts=8
)


def bits(outcome):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(outcome.model)]


def timeless(records):
    """Records without what a clock or the memory of the process decides."""
    return [
        {k: v for k, v in record.items() if k not in ("seconds", "cpu_seconds", "peak_memory")} for record in records
    ]


@pytest.fixture(scope="module")
def whole():
    return train(SMALL, base=base())


def test_training_raises_the_reward(whole):
    assert whole.status is RunStatus.FINISHED
    assert whole.batches == 4
    rewards = [record["train_reward"] for record in whole.records]
    assert rewards[-1] > rewards[0]
    assert whole.records[-1]["tokens_sampled"] > whole.records[-2]["tokens_sampled"]
    assert [("evaluation" in record) for record in whole.records] == [False, True, False, True]
    assert all(math.isfinite(record["kl_old_new"]) for record in whole.records)


def test_the_same_seed_gives_the_same_bits(whole):
    again = train(SMALL, base=base())
    assert bits(again) == bits(whole)
    assert timeless(again.records) == timeless(whole.records)
    assert bits(train(dataclasses.replace(SMALL, seed=1), base=base())) != bits(whole)


@pytest.mark.parametrize("options", [{}, {"lag": 2, "anchor": "current", "correction": "truncated"}])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path, options):
    config = dataclasses.replace(SMALL, **options)
    straight = train(config, RunDirectory(tmp_path / "a", config, kind="train"), base=base())
    directory = RunDirectory(tmp_path / "b", config, kind="train")
    first = train(config, directory, base=base(), stop=lambda: len(directory.records()) >= 2)
    assert first.status is RunStatus.STOPPED
    assert first.batches == 2
    # What a kill between the log and the checkpoint leaves: a record of a batch that will be done again.
    directory.log({"batch": 2, "train_reward": -1.0})
    with directory.metrics.open("a") as file:
        file.write('{"batch": 3, "train_rew')
    resumed = RunDirectory(tmp_path / "b", config, kind="train", resume=True)
    second = train(config, resumed, base=base())
    assert second.status is RunStatus.FINISHED
    assert bits(second) == bits(straight)
    stored = [RunDirectory(tmp_path / name, config, kind="train", resume=True).records() for name in "ab"]
    assert timeless(stored[0]) == timeless(stored[1])
    assert json.loads((tmp_path / "b/summary.json").read_text())["status"] == "FINISHED"


def test_an_anchor_computed_as_the_updates_do_has_no_rounding_of_the_sampler():
    """Before the first update a log-ratio is the difference of two programs: in bfloat16 sampler and update differ."""
    _, task, tokenizer = base()
    half = Transformer(ModelConfig(4, 32, 2, 2, compute="bfloat16"), jax.random.key(0))
    half = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape), half)
    config = dataclasses.replace(SMALL, minibatches=1, batches=1, learning_rate=1e-9)
    seen = {
        anchor: train(dataclasses.replace(config, anchor=anchor), base=(half, task, tokenizer)).records[0]
        for anchor in ("sampler", "current")
    }
    assert seen["sampler"]["train_reward"] == seen["current"]["train_reward"]  # the same responses
    assert seen["sampler"]["largest_log_ratio_seen"] > 1e-3
    assert seen["current"]["largest_log_ratio_seen"] < 1e-5


def test_a_finished_run_is_not_trained_again(tmp_path):
    directory = RunDirectory(tmp_path / "a", SMALL, kind="train")
    first = train(SMALL, directory, base=base())
    again = train(SMALL, RunDirectory(tmp_path / "a", SMALL, kind="train", resume=True), base=base())
    assert bits(first) == bits(again)


USUAL = ("pmd-part", "kl-chi2", "grpo", "gspo", "rloo")


@pytest.mark.parametrize(
    "algorithm", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in sorted(ALGORITHMS)]
)
def test_every_algorithm_trains(algorithm):
    config = dataclasses.replace(SMALL, algorithm=algorithm, batches=1)
    if algorithm in READERS["level"]:
        config = dataclasses.replace(config, loss=LossConfig(level=1.0))
    outcome = train(config, base=base())
    assert outcome.status is RunStatus.FINISHED
    before = jax.tree.leaves(base()[0])
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(outcome.model), before, strict=True))


def test_one_minibatch_is_the_same_however_it_is_shuffled():
    """All groups are all responses: the update differs by the order of sums."""
    config = dataclasses.replace(SMALL, minibatches=1, batches=1)
    apart, groups = (train(dataclasses.replace(config, shuffle=how), base=base()) for how in SHUFFLES)
    for one, two in zip(jax.tree.leaves(apart.model), jax.tree.leaves(groups.model), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(two), atol=1e-5)
    assert apart.records[0]["loss"] == pytest.approx(groups.records[0]["loss"], rel=1e-5)


@pytest.mark.parametrize(("parts", "shape"), [(1, (6, 12)), (3, (2, 4)), (4, (3, 3)), (12, (1, 1))])
def test_log_probabilities_are_found_in_pieces(parts, shape, monkeypatch):
    """Of whole groups where those can be divided, of single responses otherwise; never larger than asked for."""
    seen = []

    def told(model, prompts, lengths, responses, mask):
        seen.append((prompts.shape[0], responses.shape[0]))
        return log_probs(model, prompts, lengths, responses, mask)

    monkeypatch.setattr(_update, "log_probs", told)
    key = jax.random.key(0)
    prompts, responses = jax.random.randint(key, (6, 6), 2, 4), jax.random.randint(key, (6, 2, 3), 2, 4)
    mask = jnp.arange(3) < jnp.arange(1, 13).reshape(6, 2, 1) % 4
    model = eqx.tree_at(lambda m: m.head, base()[0], jax.random.normal(key, (8, 4)))
    lengths = jnp.arange(1, 7)
    found = eqx.filter_jit(sequence_log_probs.__wrapped__)(model, (prompts, lengths, responses, mask), parts)
    rows = jnp.repeat(prompts, 2, 0), jnp.repeat(lengths, 2), responses.reshape(12, 3), mask.reshape(12, 3)
    np.testing.assert_allclose(found.reshape(12, 3), log_probs(model, *rows), atol=1e-6)
    assert set(seen) == {shape}


@pytest.mark.parametrize("how", SHUFFLES)
def test_minibatches_hold_what_is_shuffled(how, monkeypatch):
    """Responses come in any order; groups stay whole, in the order of their rollouts, behind their own prompt."""
    seen = []

    def told(model, prompts, lengths, responses, mask):
        jax.debug.callback(lambda *given: seen.append(given), prompts, responses)
        return log_probs(model, prompts, lengths, responses, mask)

    monkeypatch.setattr(_update, "log_probs", told)
    groups, n, slots = 6, 4, 3
    prompts = jnp.arange(groups)[:, None] % 2 + 2 * jnp.ones((1, 6), int)
    responses = jnp.arange(groups * n * slots).reshape(groups, n, slots)  # the numbers name the rows; none is a token
    real = jnp.ones(responses.shape, bool)
    batch = Batch(
        prompts, jnp.full(groups, 6), responses, real, 0.0 * responses, 0.0 * real[..., 0], 1.0 * real[..., 0]
    )
    config = compiled(dataclasses.replace(SMALL, prompts=groups, rollouts=n, minibatches=3, shuffle=how, tau=0.7))
    model = base()[0]
    state = make_optimiser(config).init(eqx.filter(model, eqx.is_inexact_array))
    jax.block_until_ready(update((config, batch, jax.random.key(0)), model, state))
    jax.effects_barrier()
    rows = np.concatenate([np.asarray(given[1]) for given in seen])[:, 0] // slots
    assert sorted(rows) == list(range(groups * n))
    whole = rows.reshape(-1, n)
    together = (whole % n == np.arange(n)).all() and (whole // n == whole[:, :1] // n).all()
    assert together == (how == "groups")
    for given_prompts, given_responses in (map(np.asarray, pair) for pair in seen):
        owner = given_responses[:, 0] // slots // n
        copies = len(owner) // len(given_prompts)
        assert copies == (n if how == "groups" else 1)
        assert (np.repeat(given_prompts, copies, 0) == np.asarray(prompts)[owner]).all()


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 2},
        {"shuffle": "groups"},
        {"filter_groups": True, "oversample": 2},
        {"lag": 1},
        {"lag": 1, "anchor": "current"},
        pytest.param({"warm_up": 3}, marks=pytest.mark.slow),
        pytest.param({"loss": LossConfig(length_normalise=True)}, marks=pytest.mark.slow),
        {"loss": LossConfig(standardise=True)},
    ],
)
def test_options_change_what_is_trained(whole, options):
    outcome = train(dataclasses.replace(SMALL, **options), base=base())
    assert outcome.status is RunStatus.FINISHED
    assert bits(outcome) != bits(whole), options


def test_filtered_batches_hold_groups_with_a_signal():
    config = dataclasses.replace(SMALL, filter_groups=True, oversample=4, batches=1)
    record = train(config, base=base()).records[0]
    assert record["responses"] == 4 * SMALL.batch
    assert record["tokens_trained"] < record["tokens_sampled"]
    assert sum(part["groups"] for part in record["by_pass_rate"]) == SMALL.prompts


def hopeless():
    class Never(Parity):
        def reward(self, prompt, response):
            return 0.0

    model, _, tokenizer = base()
    return model, Never(), tokenizer


def test_failures_end_in_a_status_and_keep_the_last_good_model(tmp_path):
    directory = RunDirectory(tmp_path / "none", SMALL, kind="train")
    outcome = train(SMALL, directory, base=hopeless())
    assert outcome.status is RunStatus.NO_SIGNAL
    assert outcome.batches == 0
    assert bits(outcome) == [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(base()[0])]
    summary = json.loads(directory.summary.read_text())
    assert summary["status"] == "NO_SIGNAL"
    assert summary["evaluation"]["average"] == 0.0  # a run that broke down is evaluated all the same

    wild = dataclasses.replace(SMALL, diverge_at=1e-3)
    outcome = train(wild, base=base())
    assert outcome.status is RunStatus.DIVERGED
    assert bits(outcome) == [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(base()[0])]

    model, task, tokenizer = base()
    broken = eqx.tree_at(lambda m: m.norm, model, model.norm * jnp.nan)
    outcome = train(SMALL, base=(broken, task, tokenizer))
    assert outcome.status in (RunStatus.NOT_FINITE, RunStatus.NO_SIGNAL)


def test_an_update_without_numbers_stops_the_run():
    """The second minibatch sees the weights that the first one left: its loss is no number."""
    config = dataclasses.replace(SMALL, learning_rate=1e30)
    outcome = train(config, base=base())
    assert outcome.status is RunStatus.NOT_FINITE
    assert not math.isfinite(outcome.records[-1]["loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outcome.model))


@pytest.mark.parametrize(("bad", "kept"), [(math.nan, None), (math.inf, "inf")])
def test_the_record_of_a_failed_batch_says_what_it_did(tmp_path, monkeypatch, whole, bad, kept):
    """A loss that is not finite in the second batch, in metrics and totals; the checkpoint is that of the first."""
    calls = []

    def failing(given, model, state):
        model, state, trace = update(given, model, state)
        calls.append(0)
        return model, state, trace._replace(loss=trace.loss.at[-1].set(bad)) if len(calls) == 2 else trace

    with monkeypatch.context() as patch:
        patch.setattr(_run, "update", failing)
        directory = RunDirectory(tmp_path / "a", SMALL, kind="train")
        outcome = train(SMALL, directory, base=base())
    assert (outcome.status, outcome.batches) == (RunStatus.NOT_FINITE, 1)
    first, last = directory.records()
    assert last["loss"] == kept
    assert set(last) == set(first) | {"evaluation"}
    assert set(last["seconds"]) == {"sample", "verify", "update", "instruments", "evaluate", "save"}
    assert last["gradient_norm"] > 0
    assert last["largest_log_ratio"] > 0
    totals = ("responses", "tokens_sampled", "tokens_trained")
    assert all(last[name] > first[name] for name in totals)
    summary = json.loads(directory.summary.read_text())
    assert {name: summary[name] for name in totals} == {name: last[name] for name in totals}
    stored = peek(directory.checkpoint)
    assert (stored["batch"], stored["totals"]) == (1, {name: first[name] for name in totals})
    again = train(SMALL, RunDirectory(tmp_path / "a", SMALL, kind="train", resume=True), base=base())
    assert again.status is RunStatus.FINISHED
    assert bits(again) == bits(whole)
    assert again.records[-1]["tokens_trained"] == whole.records[-1]["tokens_trained"]


class Half(Parity):
    """Without a reward where the prompt begins with 'a'."""

    def reward(self, prompt, response):
        return super().reward(prompt, response) * prompt.startswith("b")


def other(task):
    model, _, tokenizer = base()
    return model, task, tokenizer


def test_groups_that_fill_places_do_not_count(monkeypatch):
    """They have no weight: neither in the tokens that were trained on nor in the step that is predicted."""
    seen = {}

    def advantages(name, rewards, *more):
        seen["rewards"] = np.asarray(rewards)
        return _run_advantages(name, rewards, *more)

    def told(given, model, state):
        names = ("mask", "weight", "signal")
        seen.update({name: np.asarray(getattr(given[1], name)) for name in names})
        return update(given, model, state)

    _run_advantages = _run.advantages
    monkeypatch.setattr(_run, "advantages", advantages)
    monkeypatch.setattr(_run, "update", told)
    config = dataclasses.replace(SMALL, filter_groups=True, batches=1, epochs=2)
    record = train(config, base=other(Half())).records[0]
    used = seen["weight"][:, 0] > 0
    assert 0 < used.sum() < used.size
    assert record["tokens_trained"] == 2 * seen["mask"][used].sum() < 2 * seen["mask"].sum()
    assert record["signal_size"] == pytest.approx(np.abs(seen["signal"][used]).mean(), rel=1e-6)
    assert record["signal_size"] > 1.1 * np.abs(seen["signal"]).mean()
    want = instruments.predicted(seen["rewards"][used], config.tau)
    assert {name: record[name] for name in want} == want
    assert want["predicted_improvement"] > instruments.predicted(seen["rewards"], config.tau)["predicted_improvement"]


# Batches without a signal.


class Barren(Parity):
    """Without a reward where the prompt is all 'a'."""

    def reward(self, prompt, response):
        return super().reward(prompt, response) * (prompt != "aaaaaa")


@pytest.fixture
def unlucky(monkeypatch):
    """The second and the third batch have no signal."""

    def prompts(task, config, batch):
        found = training_prompts(task, config, batch)
        return ["aaaaaa"] * len(found) if batch in (1, 2) else found

    monkeypatch.setattr(_run, "training_prompts", prompts)


def state_bits(run):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(run.state[0])]


@pytest.mark.parametrize("patience", [1, 2])
def test_batches_without_a_signal_end_a_run_when_there_are_too_many_in_a_row(tmp_path, unlucky, patience):
    config = dataclasses.replace(SMALL, patience=patience)
    directory = RunDirectory(tmp_path / "a", config, kind="train")
    outcome = train(config, directory, base=other(Barren()))
    assert (outcome.status, outcome.batches) == (RunStatus.NO_SIGNAL, patience)
    stored = directory.records()
    record = stored[-1]
    assert record["groups_without_signal"] == 1.0
    assert record["responses"] == (patience + 1) * SMALL.batch
    assert record["tokens_trained"] == stored[0]["tokens_trained"]
    assert {"seconds", "evaluation"} <= set(record)
    again = RunDirectory(tmp_path / "a", config, kind="train", resume=True)
    assert train(config, again, base=other(Barren())).batches == patience  # the count in a row is kept
    assert timeless(again.records()) == timeless(stored)


def test_batches_without_a_signal_are_passed_over(tmp_path, unlucky):
    """The weights stay as they were, the sampler that lags moves on, and a run that was stopped there ends the same."""
    config = dataclasses.replace(SMALL, patience=3, lag=1)
    run = Run(config, other(Barren()))
    run.batch()
    before, sampler = state_bits(run), [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(run.past[0])]
    assert sampler != before
    status, record = run.batch()
    assert (status, run.done, run.idle) == (None, 2, 1)
    assert state_bits(run) == before == [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(run.past[0])]
    assert "loss" not in record
    assert "evaluation" in record  # every second batch is evaluated
    run.batch()
    run.batch()
    assert (run.done, run.idle) == (4, 0)
    stopped = RunDirectory(tmp_path / "a", config, kind="train")
    first = train(config, stopped, base=other(Barren()), stop=lambda: len(stopped.records()) >= 2)
    assert first.batches == 2
    assert peek(stopped.checkpoint)["idle"] == 1
    resumed = RunDirectory(tmp_path / "a", config, kind="train", resume=True)
    second = train(config, resumed, base=other(Barren()))
    assert second.status is RunStatus.FINISHED
    assert bits(second) == state_bits(run)


# What is on the disk, and when.


class Killed(BaseException):
    """What nothing in a run catches."""


def test_records_are_on_the_disk_before_the_checkpoint_that_knows_them(tmp_path, monkeypatch):
    happened = []
    for owner, name in ((RunDirectory, "log"), (RunDirectory, "sync"), (training, "save")):
        call = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, n=name, c=call: (happened.append(n), c(*a))[1])
    train(SMALL, RunDirectory(tmp_path / "a", SMALL, kind="train"), base=base())
    assert happened == ["log", "sync", "save"] * SMALL.batches


def test_checkpoints_are_as_rare_as_asked_for(tmp_path, monkeypatch, whole):
    """The last batch, the one that a run is stopped after and the one before a failure are saved whatever is asked."""
    saved = []

    def told(path, state, record):
        saved.append(record["batch"])
        checkpoint.save(path, state, record)

    monkeypatch.setattr(training, "save", told)
    config = dataclasses.replace(SMALL, save_every=3)
    directory = RunDirectory(tmp_path / "a", config, kind="train")
    first = train(config, directory, base=base(), stop=lambda: len(directory.records()) >= 2)
    assert (first.batches, saved) == (2, [2])
    resumed = RunDirectory(tmp_path / "a", config, kind="train", resume=True)
    assert bits(train(config, resumed, base=base())) == bits(whole)
    assert saved == [2, 3, 4]
    seconds = [record["seconds"]["save"] for record in resumed.records()]
    assert seconds[3] > 0
    assert seconds[1] == 0.0  # nothing was saved after the first batch
    saved.clear()
    monkeypatch.setattr(_run, "training_prompts", lambda t, c, k: ["aaaaaa"] * 4 if k else training_prompts(t, c, k))
    failed = RunDirectory(tmp_path / "b", config, kind="train")
    assert train(config, failed, base=other(Barren())).status is RunStatus.NO_SIGNAL
    assert (saved, peek(failed.checkpoint)["batch"]) == ([1], 1)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("moment", ["logged", "written", "named"])
def test_wherever_a_run_is_killed_it_goes_on_to_the_same_bits(tmp_path, monkeypatch, whole, moment, every):
    """Behind the record, behind the checkpoint that has no name yet, and behind its name; all but `every` is kept."""
    config = dataclasses.replace(SMALL, save_every=every)
    directory = RunDirectory(tmp_path / "a", config, kind="train")
    replace, log, calls = checkpoint.os.replace, RunDirectory.log, []

    def dying_log(self, record):
        log(self, record)
        if record["batch"] == 2 and moment == "logged":
            raise Killed

    def dying_replace(spare, path):
        calls.append(path.name)
        if path.name == "checkpoint.npz" and calls.count(path.name) == (3 if every == 1 else 1) and moment != "logged":
            if moment == "written":
                path.with_name(".checkpoint.npz.99999").write_bytes(spare.read_bytes())  # as SIGKILL leaves it
                raise Killed
            replace(spare, path)
            raise Killed
        replace(spare, path)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "log", dying_log)
        patch.setattr(checkpoint.os, "replace", dying_replace)
        with pytest.raises(Killed):
            train(config, directory, base=base())
    kept = peek(directory.checkpoint)["batch"] if directory.checkpoint.exists() else 0
    assert kept == (3 if moment == "named" else 2 if every == 1 else 0)
    assert [record["batch"] for record in directory.records()] == [0, 1, 2]
    resumed = RunDirectory(tmp_path / "a", config, kind="train", resume=True)
    assert bits(train(config, resumed, base=base())) == bits(whole)
    assert [record["batch"] for record in resumed.records()] == list(range(SMALL.batches))
    names = {"config.json", "metrics.jsonl", "checkpoint.npz", "summary.json", ".lock"}
    assert {entry.name for entry in resumed.path.iterdir()} == names


def test_the_peak_of_memory_is_that_of_the_fullest_device(monkeypatch):
    def devices(*peaks):
        monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(memory_stats=lambda p=p: p) for p in peaks])

    devices({"peak_bytes_in_use": 3}, {"peak_bytes_in_use": 7}, {"bytes_in_use": 9}, None)
    assert mesh.peak_memory() == 7.0
    devices(None)
    assert mesh.peak_memory() > 1e6  # of the process


def test_a_step_that_is_not_measured_is_the_same_step(whole):
    """Measurements read, and nothing else: the weights, and the rest of the records, are those of the measured run."""
    seldom = train(dataclasses.replace(SMALL, measure_every=3), base=base())
    assert bits(seldom) == bits(whole)
    absent = set(instruments.divergences([0.0])) | {"by_pass_rate"}
    assert [absent.isdisjoint(record) for record in seldom.records] == [True, True, False, False]
    for one, two in zip(timeless(seldom.records), timeless(whole.records), strict=True):
        assert one.items() <= two.items()
        assert set(two) - set(one) in (set(), absent)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_the_last_update_broke_is_found_without_measuring(monkeypatch, bad):
    def breaking(given, model, state):
        model, state, trace = update(given, model, state)
        return eqx.tree_at(lambda m: m.norm, model, model.norm.at[0].set(bad)), state, trace

    monkeypatch.setattr(_run, "update", breaking)
    outcome = train(dataclasses.replace(SMALL, measure_every=9), base=base())
    assert (outcome.status, outcome.batches) == (RunStatus.NOT_FINITE, 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outcome.model))


@pytest.mark.parametrize(("minibatches", "batches"), [(2, 0), (1, SMALL.batches - 1)])
def test_divergence_without_measuring_is_what_the_updates_saw(minibatches, batches):
    """A batch's only update starts where the sampler stands and sees no distance; the last batch is measured."""
    config = dataclasses.replace(SMALL, minibatches=minibatches, measure_every=9, diverge_at=1e-5)
    outcome = train(config, base=base())
    assert (outcome.status, outcome.batches) == (RunStatus.DIVERGED, batches)


def test_wrong_configs():
    for options, fragments in (
        ({"tau": -0.1}, ("tau", "-0.1")),
        ({"tau": 0.0}, ("tau", "0")),
        ({"algorithm": "ppo"}, ("algorithm", "ppo", "pmd-mean")),
        ({"rollouts": 1}, ("rollouts", "1", "pmd-mean")),
        ({"minibatches": 0}, ("minibatches", "0")),
        ({"minibatches": 7}, ("minibatches", "7", "512")),
        ({"shuffle": "groups", "minibatches": 128}, ("minibatches", "128", "prompts = 64")),
        ({"shuffle": "rows"}, ("shuffle", "rows", "groups")),
        ({"batches": 0}, ("batches", "0")),
        ({"measure_every": 0}, ("measure_every", "0")),
        ({"save_every": 0}, ("save_every", "0")),
        ({"patience": 0}, ("patience", "0")),
        ({"lag": 1, "anchor": "current", "correction": "truncated", "truncation": 0.5}, ("truncation", "0.5", "1")),
        ({"truncation": 3.0}, ("truncation", "3.0", "2.0", "correction")),
        ({"algorithm": "kl-chi2", "loss": LossConfig(length_normalise=True)}, ("length_normalise", "kl-chi2")),
        ({"loss": LossConfig(clip_low=0.1)}, ("clip_low", "0.1", "pmd-mean", "grpo")),
        ({"lag": -1}, ("lag", "-1")),
        ({"anchor": "old"}, ("anchor", "old")),
        ({"correction": "truncated"}, ("correction", "truncated")),
        ({"correction": "full"}, ("correction", "full")),
        ({"oversample": 2}, ("oversample", "2")),
        ({"learning_rate": math.nan}, ("learning_rate", "nan")),
        ({"evaluation_prompts": 0}, ("evaluation_prompts", "0")),
        ({"seed": -1}, ("seed", "-1")),
    ):
        refused(ValueError, lambda options=options: TrainConfig(**options), *fragments)
    refused(TypeError, lambda: TrainConfig(epochs=1.5), "epochs", "1.5")
    refused(ValueError, lambda: LossConfig(chi2_weight=-1.0), "chi2_weight", "-1")
    refused(ValueError, lambda: LossConfig(clip_low=2.0), "clip_low", "2.0")
    refused(ValueError, lambda: LossConfig(clip_high=-0.1), "clip_high", "-0.1")
    refused(ValueError, lambda: LossConfig(horizon=0.0), "horizon", "0")
    refused(ValueError, lambda: PretrainConfig(noise=1.5), "noise", "1.5")
    refused(ValueError, lambda: PretrainConfig(batch=0), "batch", "0")
    refused(ValueError, lambda: load_base("gpt"), "gpt", "digit-sum")
    refused(ValueError, lambda: base_of(dataclasses.replace(SMALL, graded=True)), "graded", "digit-sum")


def test_the_directory_belongs_to_a_config(tmp_path):
    RunDirectory(tmp_path / "a", SMALL, kind="train")
    other = dataclasses.replace(SMALL, tau=0.1)
    refused(ValueError, lambda: RunDirectory(tmp_path / "a", other, kind="train", resume=True), "tau", "0.3", "0.1")
    refused(ValueError, lambda: RunDirectory(tmp_path / "a", SMALL, kind="train"), "--resume")


# Instruments.

log_ratios = st.lists(st.floats(-3, 3), min_size=2, max_size=6)


@given(log_ratios, st.integers(2, 6))
def test_divergences_are_those_of_the_enumerated_law(ratios, scale):
    """With every action of a law as often as it is likely, the estimates are the divergences of `pmdtheory`."""
    counts = np.arange(1, len(ratios) + 1) * scale
    policy = counts / counts.sum()
    log_ratio = np.array(ratios) - np.log(policy @ np.exp(ratios))
    found = instruments.divergences(np.repeat(log_ratio, counts))
    law = policy * np.exp(log_ratio)
    law /= law.sum()
    log_old, log_new = np.log(policy), np.log(law)
    assert found["kl_old_new"] == pytest.approx(pmd.divergence.kl(log_old, log_new), rel=1e-9, abs=1e-12)
    assert found["kl_new_old"] == pytest.approx(pmd.divergence.kl(log_new, log_old), rel=1e-9, abs=1e-12)
    assert found["chi2"] == pytest.approx(pmd.divergence.chi2(log_new, log_old), rel=1e-9, abs=1e-12)
    assert found["largest_log_ratio"] == np.abs(log_ratio).max()


def test_predictions_are_the_exact_steps():
    rewards, tau = [[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]], 0.4
    steps = [pmd.mean_update(pmd.Problem.from_rollouts(group, tau)).unwrap() for group in rewards]
    found = instruments.predicted(rewards, tau)
    assert found["implied_multiplier"] == pytest.approx(np.mean([step.multiplier for step in steps]), rel=1e-12)
    gains = [step.expected_reward - np.mean(group) for step, group in zip(steps, rewards, strict=True)]
    assert found["predicted_improvement"] == pytest.approx(np.mean(gains), rel=1e-9)
    shares = [0.5 * s.multiplier * s.chi2 / (s.kl + 0.5 * s.multiplier * s.chi2) for s in steps[:2]]
    assert found["chi2_share"] == pytest.approx(np.mean(shares), rel=1e-9)


def test_an_exact_step_realises_what_is_predicted():
    rewards, tau = np.array([[1, 1, 0, 1], [0, 1, 0, 0]]), 0.4
    log_ratio = []
    for group in rewards:
        problem = pmd.Problem.from_rollouts(group, tau)
        step = pmd.mean_update(problem).unwrap()
        level = dict(zip(problem.reward.tolist(), step.log_ratio.tolist(), strict=True))
        log_ratio.append([level[float(r)] for r in group])
    for part in instruments.step_by_pass_rate(rewards, log_ratio, tau):
        assert part["realised"] == pytest.approx(part["predicted"], rel=1e-9)
        assert part["groups"] == 1
    still = instruments.step_by_pass_rate(rewards, np.zeros(8), tau)
    assert all(abs(part["realised"]) < 1e-15 < part["predicted"] for part in still)


def test_steps_by_pass_rate_by_hand():
    """Bins from their lower end on; groups without a signal are in none; weights that sum to one within a group."""
    rewards = np.array([[0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 0, 1, 1]])
    log_ratio = np.log([[1, 1, 1, 3], [9, 9, 9, 9], [1, 1, 1, 1], [1, 3, 1, 1], [1, 1, 1, 1]])
    found = instruments.step_by_pass_rate(rewards, log_ratio, 0.4)
    assert [(part["low"], part["groups"], part["mean_reward"]) for part in found] == [
        (0.25, 1, 0.25), (0.5, 1, 0.5), (0.75, 2, 0.75)
    ]  # fmt: skip
    assert [part["realised"] for part in found] == pytest.approx([3 / 6 - 1 / 4, 0.0, (5 / 6 - 3 / 4) / 2])
    thirds = instruments.step_by_pass_rate(rewards, log_ratio, 0.4, bins=3)
    assert [(part["low"], part["groups"]) for part in thirds] == [(0.0, 1), (1 / 3, 1), (2 / 3, 2)]
    shifted = instruments.step_by_pass_rate(rewards, log_ratio + 2.0, 0.4)
    assert [part["realised"] for part in shifted] == pytest.approx([part["realised"] for part in found])
    assert instruments.divergences([1.0, 1.0, -2.0])["log_ratio_rms"] == pytest.approx(math.sqrt(2.0))
    assert instruments.divergences([3.0, 3.0])["log_ratio_rms"] == 3.0  # about zero, not about the mean


def test_clip_fractions_are_shares_of_lost_gradients():
    """Where the clip is active the gradient of a token is exactly zero: below for bad responses, above for good ones.

    The last response has no weight and no gradient either; it is no term.
    """
    from tiny_llm_rl.algorithm import loss

    rng = np.random.default_rng(0)
    old = jnp.asarray(np.log(rng.uniform(0.2, 0.8, (6, 4))))
    logp = old + jnp.asarray(rng.normal(0, 0.3, (6, 4)))
    mask = jnp.asarray(np.arange(4) < rng.integers(1, 5, 6)[:, None])
    signal = jnp.asarray(rng.normal(size=6))
    weight = jnp.array([1.0, 1.0, 0.5, 2.0, 1.0, 0.0])
    counted, good = np.asarray(mask)[:-1], np.asarray(signal)[:-1] > 0
    for name in ("grpo", "dapo", "dr-grpo", "gspo"):
        config = TrainConfig(algorithm=name)
        slope = jax.jit(
            jax.grad(lambda x, c=config: loss(c.algorithm, x, old, signal, 0.1, c.loss, mask=mask, weights=weight))
        )
        lost = (np.asarray(slope(logp)) == 0)[:-1] & counted
        found = [int(n) for n in clipped(config, jnp.where(mask, logp - old, 0.0), mask, signal, weight)]
        if name == "gspo":
            assert found == [5, (lost.any(-1) & ~good).sum(), (lost.any(-1) & good).sum()]
        else:
            assert found == [counted.sum(), lost[~good].sum(), lost[good].sum()]
        assert 0 < found[1] + found[2] < found[0]
    assert [int(n) for n in clipped(TrainConfig(), logp - old, mask, signal, weight)] == [0, 0, 0]


# Evaluation, weights, pretraining.


def test_evaluation_counts_what_it_says():
    model, task, tokenizer = base()
    found = evaluate(model, task, tokenizer, jax.random.key(0), prompts=200, samples=4)
    assert found.average == pytest.approx(0.25, abs=0.06)  # a uniform model over four symbols
    assert found.best == pytest.approx(1 - 0.75**4, abs=0.12)
    assert found.average_interval[0] < found.average < found.average_interval[1]
    assert found.entropy == pytest.approx(math.log(4), rel=1e-5)
    single = evaluate(model, task, tokenizer, jax.random.key(0), prompts=200, samples=1)
    assert single.average == single.best == single.majority


def test_evaluation_prompts_are_the_same_for_every_key():
    class Recorder(Parity):
        def __init__(self):
            self.seen = []

        def reward(self, prompt, response):
            self.seen.append(prompt)
            return 0.0

    tasks = [Recorder(), Recorder()]
    for task, key in zip(tasks, (0, 1), strict=True):
        evaluate(base()[0], task, Tokenizer("ab"), jax.random.key(key), prompts=20)
    assert tasks[0].seen == tasks[1].seen


def test_intervals_cover_at_their_rate():
    """90 % intervals of a mean of 100 Bernoulli draws; 400 experiments, a false alarm in 10^6 at the bounds."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = interval((rng.random(100) < 0.3).astype(float), level=0.9, resamples=500)
        covered += low <= 0.3 <= high
    assert 0.81 < covered / 400 < 0.97


def test_weights_come_back(tmp_path):
    model = Transformer(ModelConfig(5, 8, 1, 2), jax.random.key(3))
    save_model(tmp_path / "m.safetensors", model, {"task": "digit-sum"})
    again, record = load_model(tmp_path / "m.safetensors")
    assert eqx.tree_equal(model, again)
    assert record == {"task": "digit-sum"}
    data = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:-10])
    refused(ValueError, lambda: load_model(tmp_path / "cut.safetensors"), "cannot be read")
    refused(ValueError, lambda: load_model(tmp_path / "no.safetensors"), "does not exist")
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    refused(ValueError, lambda: load_model(tmp_path / "other.safetensors"), "no config")


def test_the_shipped_base_is_what_its_record_says():
    model, record = load_model(load_path())
    task = make(record["task"], tuple(record["difficulty"]))
    rewards = measured(model, task, Tokenizer(record["alphabet"]), 1024, jax.random.key(5), evaluation=True)
    spread = 4 * math.sqrt(record["pass_rate"] * (1 - record["pass_rate"]) * (1 / 1024 + 1 / 2048))
    assert abs(rewards.mean() - record["pass_rate"]) < spread
    assert load_path().stat().st_size < 2_000_000


def load_path():
    from tiny_llm_rl.weights import shipped

    return shipped("digit-sum")


def test_pretraining_learns_and_then_forgets():
    seen = []
    config = PretrainConfig(
        difficulty=(2,), width=16, layers=1, heads=1, batch=32, clean_steps=50, careless_steps=2, check_every=2,
        pass_rate=0.0, learning_rate=1e-2,
    )  # fmt: skip
    model, record = pretrain(config, seen.append)
    assert record["clean_steps"] == 50
    assert record["careless_steps"] <= 2
    assert seen[0]["loss"] > seen[1]["loss"]
    assert record["pass_rate"] >= 0.0
    assert np.isfinite(model.head).all()


def test_runs_are_paired_by_their_prompts():
    """Runs that differ in the algorithm only sample the same prompts, and the first batch the same responses."""
    records = [Run(dataclasses.replace(SMALL, algorithm=name), base()).batch()[1] for name in ("pmd-mean", "grpo")]
    assert records[0]["train_reward"] == records[1]["train_reward"]
    assert records[0]["loss"] != records[1]["loss"]
