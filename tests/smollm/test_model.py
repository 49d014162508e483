"""The Llama of `tiny_llm_rl.smollm` on random weights: against a naive run, in the sampler, in the trainer."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from pmdtheory import losses
from tests.smollm import tiny
from tests.smollm.tiny import little_optimisation as little_optimisation
from tests.weighted import weighted
from tests.wrong import refused
from tiny_llm_rl._update import sequence_log_probs
from tiny_llm_rl.algorithm import advantages
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.rollout import log_probs, sample
from tiny_llm_rl.smollm import _turns
from tiny_llm_rl.smollm.config import LlamaConfig, RopeScaling, from_json, to_json
from tiny_llm_rl.smollm.lora import adapted, merged, trained
from tiny_llm_rl.smollm.model import frequencies
from tiny_llm_rl.smollm.training import exchanged
from tiny_llm_rl.tasks import Task
from tiny_llm_rl.tokenizer import Tokenizer
from tiny_llm_rl.train import Run

pytestmark = pytest.mark.jax

F32 = 2e-5  # float32 against float64, logits of order one
TEXT = (3, 1, 4, 1, 5, 9, 2)
KINDS = {
    "qwen2": {},
    "llama": {"biases": "", "tied": False, "theta": 5e5, "epsilon": 1e-2},
    "every head its own keys": {"biases": "qkvo", "kv_heads": 4},
    "one key for all": {"biases": "", "kv_heads": 1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_a_naive_run(kind):
    model = tiny.model(**KINDS[kind])
    expected = tiny.reference(model, TEXT)
    np.testing.assert_allclose(tiny.logits(model, TEXT), expected, atol=F32 * np.abs(expected).max())


@pytest.mark.parametrize("change", [{"theta": 9000.0}, {"epsilon": 1e-2}])
def test_a_mutant_of_a_convention_is_caught(change):
    model = tiny.model()
    expected = tiny.reference(model, TEXT)
    wrong = dataclasses.replace(model, config=dataclasses.replace(model.config, **change))
    assert np.abs(np.asarray(tiny.logits(wrong, TEXT)) - expected).max() > 10 * F32 * np.abs(expected).max()


def test_queries_are_grouped_in_order():
    """A mutant that hands the keys round robin instead of in blocks is caught."""
    model = tiny.model()
    expected = tiny.reference(model, TEXT)
    config = model.config
    order = np.arange(config.heads).reshape(-1, config.heads // config.kv_heads).T.ravel()
    rows = (order[:, None] * config.head_width + np.arange(config.head_width)).ravel()
    wrong = eqx.tree_at(lambda m: m.layers.weights["q"], model, model.layers.weights["q"][:, rows])
    assert np.abs(np.asarray(tiny.logits(wrong, TEXT)) - expected).max() > 10 * F32 * np.abs(expected).max()


MODEL = tiny.model()
# Two responses at a time, and their logits one at a time.
TURNS = tiny.model(biases="", rows=2, remat=True)
PROMPTS, LENGTHS = jnp.array([[2, 3, 4, 5, 2, 7], [4, 5, 0, 0, 0, 0]]), jnp.array([6, 2])


@pytest.fixture(autouse=True)
def few_logits(monkeypatch):
    monkeypatch.setattr(_turns, "LOGITS", 100)


def test_the_sampler_runs_it_and_the_trainer_agrees():
    found = sample(TURNS, PROMPTS, LENGTHS, jax.random.key(1), slots=8, copies=2, temperature=1.0)
    tokens, mask = (jnp.asarray(x).reshape(2, 2, 8) for x in (found.tokens, found.mask))
    again = sequence_log_probs(TURNS, (PROMPTS, LENGTHS, tokens, mask), 1).reshape(4, 8)
    given = np.repeat(PROMPTS, 2, 0), np.repeat(LENGTHS, 2), found.tokens, found.mask
    assert found.mask.sum() > 8
    assert np.abs(again - found.logp).max() <= 1e-5
    prompts, lengths, tokens, mask = map(np.asarray, given)
    for row, prompt in enumerate(prompts):
        size, start = int(mask[row].sum()), lengths[row]
        logits = tiny.reference(TURNS, [*prompt[:start], *tokens[row][:size]])
        laws = logits - logsumexp(logits, axis=-1, keepdims=True)
        expected = [laws[start - 1 + t, tokens[row][t]] for t in range(size)]
        np.testing.assert_allclose(found.logp[row][:size], expected, atol=1e-5)


def total(model):
    """A sum in which every token has a weight of its own."""
    tokens = jnp.array([[2, 1, 0], [3, 4, 5], [5, 5, 1], [6, 1, 0]])
    mask = jnp.array([[1, 1, 0], [1, 1, 1]] * 2, bool)
    logp = log_probs(model, jnp.tile(PROMPTS, (2, 1)), jnp.array([6, 1, 2, 3]), tokens, mask)
    return (logp * jnp.arange(1.0, 13.0).reshape(4, 3)).sum()


@pytest.mark.parametrize("rows", [0, 2, 1])
def test_a_prompt_is_read_once_for_its_responses(rows):
    """Parts of 2 rows hold a whole group each, parts of 1 cannot: the same numbers as with copies of the prompt."""
    model = dataclasses.replace(MODEL, config=dataclasses.replace(MODEL.config, rows=rows, remat=True))
    tokens = jnp.array([[2, 1, 0], [3, 4, 5], [5, 5, 1], [6, 1, 0]])
    mask = jnp.array([[1, 1, 0], [1, 1, 1]] * 2, bool)
    rest = tokens, mask, jnp.arange(1.0, 13.0).reshape(4, 3)
    once, gradient = weighted(model, PROMPTS, LENGTHS, *rest)
    each, other = weighted(MODEL, jnp.repeat(PROMPTS, 2, 0), jnp.repeat(LENGTHS, 2), *rest)
    wrong, _ = weighted(model, PROMPTS[::-1], LENGTHS[::-1], *rest)
    np.testing.assert_allclose(once, each, atol=1e-5)
    for one, two in zip(jax.tree.leaves(gradient), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5 * float(jnp.abs(two).max()))
    assert np.abs(wrong - once).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"rows": 2, "remat": True}, {"rows": 1}, {}])
def test_gradients_do_not_depend_on_how_they_are_accumulated(change, monkeypatch):
    other = dataclasses.replace(MODEL, config=dataclasses.replace(MODEL.config, **change))
    again, same = eqx.filter_jit(eqx.filter_value_and_grad(lambda model: total(model)))(other)  # in turns
    monkeypatch.setattr(_turns, "LOGITS", 10**6)
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(total))(MODEL)
    assert abs(value - again) < 1e-4 * abs(value)
    for one, two in zip(jax.tree.leaves(gradient), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5 * float(jnp.abs(one).max()))


def test_rows_that_do_not_divide_are_refused():
    other = dataclasses.replace(MODEL, config=dataclasses.replace(MODEL.config, rows=3))
    refused(ValueError, lambda: eqx.filter_eval_shape(total, other), "rows=3", "4 sequences")


def test_bfloat16_compute_is_near():
    half = dataclasses.replace(MODEL, config=dataclasses.replace(MODEL.config, compute="bfloat16"))
    exact, near = tiny.logits(MODEL, TEXT), tiny.logits(half, TEXT)
    assert near.dtype == jnp.float32
    assert 0 < jnp.abs(exact - near).max() < 0.1 * jnp.abs(exact).max()


def test_exchanged_tokens_are_the_same_law():
    other = exchanged(tiny.model(tied=False), 1, 4)
    text = [{1: 4, 4: 1}.get(token, token) for token in TEXT]
    first, second = tiny.logits(tiny.model(tied=False), TEXT), tiny.logits(other, text)
    order = np.array([{1: 4, 4: 1}.get(token, token) for token in range(11)])
    np.testing.assert_allclose(first, second[:, order], atol=1e-6)


# -- adapters -------------------------------------------------------------------------------------------------------


def test_fresh_adapters_change_nothing_and_trained_ones_can_be_merged():
    low = adapted(MODEL, jax.random.key(0), rank=3, targets=("q", "down"))
    assert (tiny.logits(low, TEXT) == tiny.logits(MODEL, TEXT)).all()
    assert trained(low) == 2 * 3 * (16 + 24 + 20 + 16)
    random = jax.tree.map(lambda x: jnp.asarray(np.asarray(x) + 0.1) if eqx.is_inexact_array(x) else x, low)
    assert np.abs(tiny.logits(random, TEXT) - tiny.logits(MODEL, TEXT)).max() > 1e-2
    whole = eqx.filter_jit(merged)(random)
    assert not whole.layers.adapters
    np.testing.assert_allclose(tiny.logits(whole, TEXT), tiny.logits(random, TEXT), atol=1e-4)
    assert eqx.tree_equal(eqx.filter_jit(merged)(low), MODEL)  # what is frozen is kept to the bit


def test_wrong_adapters_are_refused():
    key = jax.random.key(0)
    refused(ValueError, lambda: adapted(MODEL, key, rank=0), "rank", "0")
    refused(ValueError, lambda: adapted(MODEL, key, targets=()), "targets")
    refused(ValueError, lambda: adapted(MODEL, key, targets=("q", "q")), "targets", "once")
    refused(ValueError, lambda: adapted(MODEL, key, targets=("w",)), "targets", "w")
    refused(ValueError, lambda: adapted(adapted(MODEL, key, targets=("q",)), key), "adapters already")


# -- training -------------------------------------------------------------------------------------------------------


class Alternating(Task):
    """Every second response of a group is rewarded, whatever it says, so that each group has a signal."""

    name, alphabet, prompt_slots, response_slots = "alternating", "abcdefghi", 6, 8

    def __init__(self):
        self.asked = 0

    def draw(self, rng):
        return "".join("abcdefghi"[letter] for letter in rng.integers(0, 9, rng.integers(1, 7)))

    def demonstration(self, prompt, rng, wrong=0.0):
        return "a"

    def reward(self, prompt, response):
        self.asked += 1
        return float(self.asked % 2)

    def answer(self, response):
        return response


CONFIG = TrainConfig(
    prompts=2, rollouts=2, minibatches=1, batches=2, learning_rate=1e-2, tau=0.3, evaluation_prompts=2, clip_norm=1e9
)


def start(**changes):
    return tiny.model(**changes), Alternating(), Tokenizer("abcdefghi")


SELDOM = [pytest.param(name, marks=pytest.mark.slow) for name in ("pmd-part", "grpo", "gspo")]


@pytest.mark.parametrize("algorithm", ["pmd-mean", *SELDOM])
def test_one_update_is_that_of_the_reference_path(algorithm):
    """Loss and gradient of the trainer against runs over whole texts: no padding before, no cache, no minibatches."""
    config = dataclasses.replace(CONFIG, algorithm=algorithm)
    _, task, tokenizer = start()
    model = TURNS
    run = Run(config, (model, task, tokenizer))
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    rng = np.random.default_rng([config.seed, 3, 0])
    prompts, lengths = map(jnp.asarray, tokenizer.rows([task.prompt(rng) for _ in range(2)], 6))
    found = sample(model, prompts, lengths, jax.random.fold_in(key, 0), slots=8, copies=2, temperature=1.0)
    signal = advantages(algorithm, jnp.array([[1.0, 0.0], [1.0, 0.0]]), config.tau, config.loss).ravel()
    prompts, lengths, found = jax.tree.map(np.asarray, (prompts, lengths, found))

    # Each text from its first token on, so that only what comes later is padding, which cannot be seen.
    sizes = np.repeat(lengths, 2)
    texts = np.zeros((4, 14), np.int32)
    for row, prompt, size, said in zip(texts, np.repeat(prompts, 2, 0), sizes, found.tokens, strict=True):
        row[:size], row[size : size + 8] = prompt[:size], said
    positions, live = np.broadcast_to(np.arange(14), texts.shape), np.ones(texts.shape, bool)

    def objective(model):
        laws = jax.nn.log_softmax(model.logits(jnp.asarray(texts), jnp.asarray(positions), jnp.asarray(live)), -1)
        before = sizes[:, None] - 1 + np.arange(8)
        logp = jnp.where(found.mask, laws[np.arange(4)[:, None], before, found.tokens], 0.0)
        if algorithm.startswith("pmd"):
            return losses.pmd_loss(logp, found.logp, signal / config.tau, tau=config.tau, mask=found.mask)
        kind = losses.gspo_loss if algorithm == "gspo" else losses.grpo_loss
        return kind(logp, found.logp, signal, mask=found.mask)

    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(objective))(model)
    gradient = jax.tree.map(np.asarray, gradient)
    norm = float(np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient))))
    failed, record = run.batch()
    assert failed is None
    assert np.isfinite([record["loss"], record["gradient_norm"]]).all()
    assert abs(record["loss"] - float(value)) <= 1e-5 * max(1.0, abs(float(value)))
    assert abs(record["gradient_norm"] - norm) <= 1e-4 * norm
    # Adam's first step is the learning rate times the sign of the gradient.
    moved, before = map(np.asarray, (run.model.layers.weights["o"], model.layers.weights["o"]))
    clear = np.abs(gradient.layers.weights["o"]) > 1e-3 * norm
    assert clear.any()
    step = -CONFIG.learning_rate * np.sign(gradient.layers.weights["o"])
    np.testing.assert_allclose((moved - before)[clear], step[clear], rtol=1e-2)


def test_a_gradient_is_taken_of_adapters_alone():
    low = adapted(MODEL, jax.random.key(0), rank=2, targets=("k", "gate"))
    gradient = eqx.filter_eval_shape(eqx.filter_grad(total), low)
    assert len(jax.tree.leaves(gradient)) == 4
    assert gradient.layers.adapters["gate"].inner.shape == (2, 2, 16)


@pytest.mark.slow
def test_adapters_train_and_the_rest_stays():
    model, task, tokenizer = start()
    low = adapted(model, jax.random.key(0), rank=2, targets=("k", "gate"))
    for adapter in eqx.filter_jit(eqx.filter_grad(total))(low).layers.adapters.values():
        assert (adapter.outer != 0).any()
        assert (adapter.inner == 0).all()  # as the outer factor begins at zero
    run = Run(dataclasses.replace(CONFIG, minibatches=2), (low, task, tokenizer))
    failed, _ = run.batch()
    assert failed is None
    frozen, kept = (eqx.filter(each, eqx.is_inexact_array, inverse=True) for each in (low, run.model))
    assert eqx.tree_equal(frozen, kept)
    for name in low.layers.adapters:
        assert (run.model.layers.adapters[name].outer != 0).any()


# -- configs --------------------------------------------------------------------------------------------------------


def test_scaled_frequencies_are_blended_between_their_limits():
    plain = tiny.config(head_width=64, theta=5e5)
    scaled = dataclasses.replace(plain, scaling=RopeScaling(8.0, 1.0, 4.0, 8192))
    ratio = np.asarray(frequencies(scaled) / frequencies(plain))
    rotations = 8192 * np.asarray(frequencies(plain)) / (2 * np.pi)
    np.testing.assert_allclose(ratio[rotations > 4.001], 1.0, rtol=1e-6)
    np.testing.assert_allclose(ratio[rotations < 0.999], 1 / 8, rtol=1e-6)
    assert (np.diff(ratio) <= 1e-6).all()
    assert from_json(to_json(scaled)) == scaled


SCALED = {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "gpt2"}, "model_type"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"rope_parameters": None} | SCALED, "rope_type"),
        ({"num_attention_heads": 3}, "heads"),
        ({"hidden_size": None}, "config.json"),
    ],
)
def test_other_architectures_are_refused(change, word):
    refused(ValueError, lambda: from_json(to_json(tiny.config()) | change), word)


def test_wrong_sizes_are_refused():
    refused(ValueError, lambda: tiny.config(heads=3), "heads", "3")
    refused(ValueError, lambda: tiny.config(head_width=5), "head_width", "5")
    refused(ValueError, lambda: tiny.config(theta=0.0), "theta", "0")
    refused(ValueError, lambda: tiny.config(compute="int8"), "compute", "int8")
    refused(TypeError, lambda: tiny.config(layers=2.0), "layers", "2.0")
    refused(ValueError, lambda: RopeScaling(0.5, 1.0, 4.0, 8), "factor")


def test_parameters_are_counted():
    for tied in (True, False):
        model = tiny.model(biases="", tied=tied)
        assert trained(model) == model.config.parameters
    assert LlamaConfig(49152, 576, 30, 9, 3, 64, 1536).parameters == 134_515_008
