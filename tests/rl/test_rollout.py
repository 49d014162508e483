"""The model, its sampler and its log-probabilities: three ways to the same law."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.tolerances import TRAINED_FLOAT32
from tests.weighted import weighted
from tests.wrong import refused
from tiny_llm_rl import rollout
from tiny_llm_rl.model import ModelConfig, Transformer
from tiny_llm_rl.rollout import END_TOKEN, log_probs, sample
from tiny_llm_rl.train import load_base

pytestmark = pytest.mark.jax

V, P, R = 6, 5, 4


def random_model(seed=0, **sizes):
    """A model whose every weight is random, unlike a fresh one, which is uniform."""
    model = Transformer(
        ModelConfig(**{"vocabulary": V, "width": 16, "layers": 2, "heads": 2} | sizes), jax.random.key(0)
    )
    leaves, shape = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(
        shape,
        [leaf + 0.3 * jax.random.normal(key, leaf.shape, leaf.dtype) for leaf, key in zip(leaves, keys, strict=True)],
    )


MODEL = random_model()
PROMPTS = jnp.array([[2, 3, 4, 5, 2], [3, 0, 0, 0, 0], [4, 5, 0, 0, 0]])
LENGTHS = jnp.array([5, 1, 2])


@pytest.fixture(scope="module")
def rollouts():
    return sample(MODEL, PROMPTS, LENGTHS, jax.random.key(1), slots=R, copies=50)


@eqx.filter_jit
def law_after(model, text):
    """The law of the next token after `text[T]`, from a run over exactly this text."""
    positions = jnp.arange(text.size)[None]
    return jax.nn.log_softmax(model.logits(text[None], positions, jnp.ones((1, text.size), bool))[0, -1])


def naive(model, prompt, response):
    """Log-probabilities of one response, each token from a run over the text before it: no padding, no cache."""
    found = []
    for end in range(len(response)):
        found.append(law_after(model, jnp.array([*prompt, *response[:end]]))[response[end]])
    return np.array(found)


def test_sampler_and_trainer_agree(rollouts):
    prompts, lengths = jnp.repeat(PROMPTS, 50, 0), jnp.repeat(LENGTHS, 50)
    logp = log_probs(MODEL, prompts, lengths, rollouts.tokens, rollouts.mask)
    assert rollouts.mask.any()
    assert jnp.abs(logp - rollouts.logp).max() <= 1e-5
    assert (logp[~rollouts.mask] == 0).all()


@pytest.mark.parametrize("name", ["digit-sum", "addition"])
def test_sampler_and_trainer_agree_on_trained_weights(name):
    """Trained weights amplify float32's rounding, in both paths alike; in float64 they agree to 1e-11."""
    model, task, tokenizer = load_base(name)
    again = eqx.filter_jit(log_probs)
    rng, copies = np.random.default_rng(2), 8
    prompts, lengths = map(jnp.asarray, tokenizer.rows([task.prompt(rng) for _ in range(8)], task.prompt_slots))
    found = sample(model, prompts, lengths, jax.random.key(2), slots=task.response_slots, copies=copies)
    given = jnp.repeat(prompts, copies, 0), jnp.repeat(lengths, copies), found.tokens, found.mask
    apart = np.abs(np.asarray(again(model, *given) - found.logp))[np.asarray(found.mask)]
    assert np.quantile(apart, 0.99) <= 1e-5
    assert apart.max() <= TRAINED_FLOAT32
    with jax.enable_x64(True):
        config = replace(model.config, dtype="float64", compute="float64")
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), model)
        object.__setattr__(wide, "config", config)
        exact = np.asarray(again(wide, *given))
        fresh = sample(wide, prompts, lengths, jax.random.key(3), slots=task.response_slots, copies=1)
        checked = again(wide, prompts, lengths, fresh.tokens, fresh.mask)
        assert np.abs(np.asarray(checked - fresh.logp)).max() <= 1e-11
    for path in (again(model, *given), found.logp):
        assert np.abs(np.asarray(path, np.float64) - exact)[np.asarray(found.mask)].max() <= TRAINED_FLOAT32


def test_a_prompt_is_computed_once_for_its_responses():
    """The same log-probabilities and gradients as with a copy of the prompt before each response."""
    with jax.enable_x64(True):
        model = random_model(dtype="float64", compute="float64")
        key = jax.random.key(5)
        responses = jax.random.randint(key, (12, R), 2, V)
        mask = jnp.arange(R) < jax.random.randint(key, (12, 1), 1, R + 1)
        weight = jax.random.normal(key, (12, R))

        rest = responses, mask, weight
        once, gradient = weighted(model, PROMPTS, LENGTHS, *rest)
        each, other = weighted(model, jnp.repeat(PROMPTS, 4, 0), jnp.repeat(LENGTHS, 4), *rest)
        wrong, _ = weighted(model, jnp.roll(PROMPTS, 1, 0), jnp.roll(LENGTHS, 1), *rest)
    np.testing.assert_allclose(np.asarray(once), np.asarray(each), rtol=0, atol=1e-13)
    for one, two in zip(jax.tree.leaves(gradient), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(two), rtol=0, atol=1e-12)
    assert np.abs(np.asarray(wrong - once)).max() > 1e-2


@pytest.mark.parametrize("length", [1, 3])
def test_prompts_of_one_slot_have_nothing_before_their_responses(length):
    prompts, lengths = jnp.array([[2], [3]]), jnp.array([1, 1])
    found = sample(MODEL, prompts, lengths, jax.random.key(4), slots=length, copies=3)
    assert jnp.abs(log_probs(MODEL, prompts, lengths, found.tokens, found.mask) - found.logp).max() <= 1e-5
    row, size = 4, int(found.mask[4].sum())
    expected = naive(MODEL, [3], found.tokens[row][:size].tolist())
    np.testing.assert_allclose(np.asarray(found.logp[row][:size]), expected, atol=1e-5)


def test_rows_are_sampled_alike_in_turns_and_at_once(monkeypatch):
    """What a row draws depends on its number, not on the rows beside it."""
    prompts, lengths = jnp.tile(PROMPTS, (8, 1)), jnp.tile(LENGTHS, 8)

    def drawn(rows, prompts, lengths):
        monkeypatch.setattr(rollout, "_ROWS", rows)
        run = eqx.filter_jit(lambda *given: sample.__wrapped__(*given, slots=R, copies=4))
        return run(MODEL, prompts, lengths, jax.random.key(6))

    assert [rollout._turns(24, 4), rollout._turns(6, 64)] == [1, 3]
    turns, once = drawn(32, prompts, lengths), drawn(1024, prompts, lengths)
    first = drawn(1024, prompts[:9], lengths[:9])
    for part, whole, few in zip(turns, once, first, strict=True):
        np.testing.assert_allclose(np.asarray(part), np.asarray(whole), atol=1e-5)
        np.testing.assert_allclose(np.asarray(few), np.asarray(whole)[:36], atol=1e-5)
    assert (once.tokens[:4] != once.tokens[4:8]).any()


def test_both_agree_with_a_naive_run(rollouts):
    for row in (0, 60, 110, 149):
        size = int(rollouts.mask[row].sum())
        prompt = PROMPTS[row // 50][: int(LENGTHS[row // 50])].tolist()
        expected = naive(MODEL, prompt, rollouts.tokens[row][:size].tolist())
        np.testing.assert_allclose(np.asarray(rollouts.logp[row][:size]), expected, atol=1e-5)


def test_a_mutant_without_padding_masks_is_caught(rollouts):
    """Attending to the padding of a prompt changes the log-probabilities by far more than rounding."""
    prompts, lengths = jnp.repeat(PROMPTS, 50, 0), jnp.full(150, P)
    logp = log_probs(MODEL, prompts, lengths, rollouts.tokens, rollouts.mask)
    assert jnp.abs(logp - rollouts.logp)[50:].max() > 1e-2


def test_masks_end_with_the_end_symbol(rollouts):
    tokens, mask = np.asarray(rollouts.tokens), np.asarray(rollouts.mask)
    for row, live in zip(tokens, mask, strict=True):
        size = int(live.sum())
        assert live[:size].all()
        assert not (row[: size - 1] == END_TOKEN).any()
        assert size == R or row[size - 1] == END_TOKEN
        assert (row[size:] == 0).all()


def enumerated(model, prompt):
    """Every response of at most R tokens and its probability."""
    texts, ended = [()], []
    for _ in range(R):
        texts = [(*text, token) for text in texts for token in range(V)]
        ended += [text for text in texts if text[-1] == END_TOKEN]
        texts = [text for text in texts if text[-1] != END_TOKEN]
    texts = ended + texts
    responses = np.zeros((len(texts), R), np.int32)
    mask = np.zeros((len(texts), R), bool)
    for row, text in enumerate(texts):
        responses[row, : len(text)], mask[row, : len(text)] = text, True
    rows = jnp.repeat(jnp.asarray(prompt)[None], len(texts), 0)
    logp = log_probs(model, rows, jnp.full(len(texts), len(prompt)), jnp.asarray(responses), jnp.asarray(mask))
    return texts, np.exp(np.asarray(logp.sum(-1), np.float64))


@pytest.fixture(scope="module")
def law():
    return enumerated(MODEL, [3])


def test_log_probs_are_a_law(law):
    assert abs(law[1].sum() - 1.0) < 1e-5


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_sampler_draws_from_the_enumerated_law(law, temperature):
    """Chi-square over all responses, those expected less than five times pooled; one false alarm in a million."""
    texts, masses = law
    if temperature != 1.0:  # the law of each token is tempered, not that of the response
        cache = {}

        def tempered(text):
            if text not in cache:
                cache[text] = np.asarray(
                    jax.nn.softmax(law_after(MODEL, jnp.array([3, *text])) / temperature), np.float64
                )
            return cache[text]

        short = [(text, mass) for text, mass in zip(texts, masses, strict=True) if len(text) <= 2]
        texts = [text for text, _ in short]
        masses = np.array([np.prod([tempered(text[:i])[text[i]] for i in range(len(text))]) for text in texts])
    size = 40_000
    found = sample(
        MODEL, jnp.array([[3]]), jnp.array([1]), jax.random.key(7), slots=R, copies=size, temperature=temperature
    )
    counts = dict.fromkeys(texts, 0)
    other = 0
    for row, live in zip(np.asarray(found.tokens), np.asarray(found.mask).sum(-1), strict=True):
        text = tuple(row[:live].tolist())
        if text in counts:
            counts[text] += 1
        else:
            other += 1
    expected = size * masses
    seen = np.array([counts[text] for text in texts])
    frequent = expected >= 5
    rest = size - expected[frequent].sum()
    observed = np.append(seen[frequent], seen[~frequent].sum() + other)
    p = stats.chisquare(observed, np.append(expected[frequent], rest)).pvalue
    assert frequent.sum() > 4
    assert p > 1e-6
    wrong = np.roll(observed, 1)  # a mutant: the counts of the neighbours
    assert stats.chisquare(wrong, np.append(expected[frequent], rest)).pvalue < 1e-6


def test_greedy_takes_the_likeliest_token():
    found = sample(MODEL, PROMPTS, LENGTHS, jax.random.key(0), slots=R, temperature=0.0)
    for row in range(3):
        text = PROMPTS[row][: int(LENGTHS[row])].tolist()
        for token in found.tokens[row][: int(found.mask[row].sum())].tolist():
            assert int(jnp.argmax(law_after(MODEL, jnp.array(text)))) == token
            text.append(token)


def test_the_same_key_gives_the_same_bits(rollouts):
    again = sample(MODEL, PROMPTS, LENGTHS, jax.random.key(1), slots=R, copies=50)
    assert eqx.tree_equal(rollouts, again)
    other = sample(MODEL, PROMPTS, LENGTHS, jax.random.key(2), slots=R, copies=50)
    assert not (other.tokens == rollouts.tokens).all()


@settings(max_examples=10)
@given(shift=st.integers(1, 40))
def test_only_relative_positions_matter(shift):
    tokens, positions = jnp.array([[2, 3, 4, 5]]), jnp.arange(4)[None]
    live = jnp.ones((1, 4), bool)
    first, second = (MODEL.logits(tokens, positions + by, live, span=4 + shift) for by in (0, shift))
    np.testing.assert_allclose(np.asarray(first), np.asarray(second), atol=2e-5)


def test_a_position_beyond_the_table_is_refused():
    tokens, live = jnp.array([[2, 3]]), jnp.ones((1, 2), bool)
    refused(ValueError, lambda: MODEL.logits(tokens, jnp.array([[0, 2]]), live), "positions", "span = 2", "got 2")


def test_later_tokens_have_no_influence():
    positions, live = jnp.arange(4)[None], jnp.ones((1, 4), bool)
    first, second = (MODEL.logits(jnp.array([[2, 3, 4, last]]), positions, live)[:, :3] for last in (0, 5))
    np.testing.assert_allclose(np.asarray(first), np.asarray(second), atol=1e-6)


def test_gradients_match_finite_differences():
    with jax.enable_x64(True):
        model = random_model(dtype="float64", compute="float64", width=8, layers=1)
        responses = jnp.array([[2, 1, 0, 0], [3, 4, 5, 1], [5, 5, 5, 5]])
        mask = jnp.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]], bool)
        arrays, shape = jax.tree.flatten(model)

        @jax.jit
        def total(arrays):
            return log_probs(jax.tree.unflatten(shape, arrays), PROMPTS, LENGTHS, responses, mask).sum()

        gradient = jax.jit(jax.grad(total))(arrays)
        keys = jax.random.split(jax.random.key(3), len(arrays))
        direction = [jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, arrays, strict=True)]
        h = 1e-4

        def along(step):
            return float(total([a + step * h * d for a, d in zip(arrays, direction, strict=True)]))

        numeric = (8 * (along(1) - along(-1)) - (along(2) - along(-2))) / (12 * h)
        analytic = float(sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)))
    assert abs(numeric - analytic) <= 1e-7 * max(1.0, abs(analytic))


def test_sampler_and_trainer_agree_as_far_as_bfloat16_goes():
    half = Transformer(ModelConfig(V, 16, 2, 2, compute="bfloat16"), jax.random.key(0))
    half = eqx.tree_at(jax.tree.leaves, half, jax.tree.leaves(MODEL))
    found = sample(half, PROMPTS, LENGTHS, jax.random.key(1), slots=R, copies=20)
    apart = np.abs(np.asarray(log_probs(half, PROMPTS, LENGTHS, found.tokens, found.mask) - found.logp))
    assert found.logp.dtype == jnp.float32
    assert 0 < apart.max() < 16 * float(jnp.finfo(jnp.bfloat16).eps) * np.abs(np.asarray(found.logp)).max()


def test_bfloat16_compute_is_near():
    half = Transformer(ModelConfig(V, 16, 2, 2, compute="bfloat16"), jax.random.key(0))
    half = eqx.tree_at(jax.tree.leaves, half, jax.tree.leaves(MODEL))
    positions, live = jnp.arange(4)[None], jnp.ones((1, 4), bool)
    tokens = jnp.array([[2, 3, 4, 5]])
    exact, near = (model.logits(tokens, positions, live) for model in (MODEL, half))
    assert near.dtype == jnp.float32
    assert 0 < jnp.abs(exact - near).max() < 0.3 * jnp.abs(exact).max()


def test_parameters_are_counted():
    assert sum(leaf.size for leaf in jax.tree.leaves(MODEL)) == MODEL.config.parameters


def test_wrong_inputs():
    refused(ValueError, lambda: ModelConfig(1), "vocabulary", "1")
    refused(ValueError, lambda: ModelConfig(5, width=10, heads=2), "width", "10")
    refused(ValueError, lambda: ModelConfig(5, layers=0), "layers", "0")
    refused(TypeError, lambda: ModelConfig(5, width=8.0), "width", "8.0")
    refused(ValueError, lambda: ModelConfig(5, dtype="float16"), "dtype", "float16")
    refused(ValueError, lambda: ModelConfig(5, compute="int8"), "compute", "int8")
    refused(
        ValueError,
        lambda: sample(MODEL, PROMPTS, LENGTHS, jax.random.key(0), slots=2, temperature=-1.0),
        "temperature",
        "-1.0",
    )
