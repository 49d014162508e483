"""C20: the bridge from the theorem to a trained sequence model. `pmdtheory verify` finds it through an entry point.

The registry of `pmdtheory.claims` imports this module while it is being built itself, so that nothing here imports the
registry before the claim is asked for: `CLAIMS` is made then.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.random import Generator

from pmdtheory._checks import positive_scalar
from pmdtheory.divergence import total_variation
from pmdtheory.finite_sample import expected_baseline
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.update import baseline_update, mean_update
from tiny_llm_rl._checks import choice, whole
from tiny_llm_rl.exact_lm import RULES, Fit, Tabular, asymptotic_error, exact_problem, fit, responses, sample_rollouts

if TYPE_CHECKING:
    from pmdtheory.claims import Claim, Part

    CLAIMS: tuple[Claim, ...]

__all__ = ["CLAIMS", "ExactLM"]

_GROUPS: Final = 2**12
_Z: Final = 6.0  # of the bound on a sampled error: a false alarm in 1 of 6e7 cases at most
_SHAPES: Final = ((3, 3), (2, 3), (3, 3), (2, 5), (3, 3), (5, 2), (3, 3), (2, 4))  # symbols and tokens, in turn
_SHOWN: Final = (3, 3)  # the shape that the transformer is fitted to: one compilation


@dataclass(frozen=True)
class ExactLM:
    """A sequence model whose response space is enumerated, and the step it is to take.

    Attributes:
        vocabulary: V, symbols.
        length: L, tokens of a response.
        tau: greater than zero, reward units.
        rule: of the reward, a name of `RULES`.
        n: rollouts of a group, at least 2.
        seed: of the base policy and of the rollouts.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.
    """

    vocabulary: int
    length: int
    tau: float
    rule: str
    n: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no instance."""
        responses(self.vocabulary, self.length)
        positive_scalar("tau", self.tau, "tau is the regularisation strength in reward units, for instance 0.1")
        choice("rule", self.rule, RULES)
        whole("n", self.n, "leave-one-out needs at least 2 rollouts in a group", least=2)
        whole("seed", self.seed, "pass any whole number from 0 on", least=0)


def _instances(rng: Generator) -> Iterator[tuple[str, ExactLM]]:
    """Named cases, then small response spaces in turn, with tau over a decade and a half."""
    yield "81 responses, checksum, tau .3", ExactLM(3, 4, 0.3, "checksum")
    yield "64 responses, palindrome, tau .1", ExactLM(4, 3, 0.1, "palindrome", n=2)
    yield "4 responses, tau 3", ExactLM(2, 2, 3.0, "checksum", n=16)
    while True:
        for vocabulary, length in _SHAPES:
            rule = str(rng.choice(list(RULES)))
            tau, n = float(10.0 ** rng.uniform(-1.0, 0.5)), int(rng.choice([2, 4, 8]))
            case = ExactLM(vocabulary, length, tau, rule, n, int(rng.integers(2**31)))
            yield f"{vocabulary}^{length} responses, {rule}", case


@lru_cache(maxsize=4)
def _solved(case: ExactLM) -> tuple[Tabular, Problem, Update]:
    model = Tabular(case.vocabulary, case.length, seed=case.seed)
    problem = exact_problem(model, case.rule, case.tau)
    return model, problem, mean_update(problem).unwrap()


def _far(found: Fit, step: Update) -> float:
    """Total variation between a fitted law and a step."""
    return total_variation(found.log_policy, step.log_policy)


def _c20(case: ExactLM) -> "list[Part]":
    from pmdtheory.claims._base import ROOT, SOLVER, Part, exact

    model, problem, step = _solved(case)
    here = model.weights_of(step.log_policy)
    force = problem.policy * (problem.scaled_advantage - (model.log_probs(here) - problem.log_policy))
    slope = float(np.abs(model.jacobian(here).T @ force).max())
    size = exact(float(np.abs(problem.scaled_advantage).max()))
    found = fit(model, problem).unwrap()
    return [
        Part("the loss is stationary at the Lambert-W policy", "identity", slope, ROOT + size),
        Part("minimiser of the loss: Lambert-W policy, TV", "identity", _far(found, step), SOLVER * step.step_size),
        *_part(case),
        *_sampled(case),
    ]


def _part(case: ExactLM) -> "list[Part]":
    """PMD-part with n rollouts, its targets averaged over all groups, ends at PMD(b_{n-1})."""
    from pmdtheory.claims._base import SOLVER, Part

    model, problem, _ = _solved(case)
    b = float(expected_baseline(problem, case.n - 1).value)
    found = fit(model, problem, target=problem.reward / problem.tau - b).unwrap()
    member = baseline_update(problem, baseline=b).unwrap()
    error = _far(found, member)
    return [Part("PMD-part of n rollouts: PMD(b_{n-1}), TV", "identity", error, SOLVER * member.step_size)]


def _sampled(case: ExactLM) -> "list[Part]":
    r"""The fit to rollouts is within its asymptotic error, by Gaussian concentration of a sum of absolute values.

    With expectation m the standard deviation of every linear form in it is at most \(m\sqrt{\pi/2}\), so that
    \(m(1 + z\sqrt{\pi/2})\) is exceeded with probability at most \(e^{-z^2/2}\).
    """
    from pmdtheory.claims._base import Part

    model, problem, step = _solved(case)
    total = case.n * _GROUPS
    rng = np.random.default_rng(case.seed)
    drawn = sample_rollouts(problem, n=case.n, groups=_GROUPS, rng=rng)
    if drawn.weights.min() == 0.0:  # the loss is blind to what was not drawn, and drives its mass to zero
        return []
    found = fit(model, problem, **drawn._asdict()).unwrap()
    expected = asymptotic_error(problem, step, n=case.n) / math.sqrt(total)
    bound = expected * (1.0 + _Z * math.sqrt(math.pi / 2.0))
    return [Part("rollouts: TV within its bound at rate 1/sqrt(N)", "upper", _far(found, step), bound)]


def _opinion(case: ExactLM) -> "list[Part]":
    """A transformer of width 16 is trained from its own base policy, on responses of 3 tokens over 3 symbols."""
    if (case.vocabulary, case.length) != _SHOWN:
        return []
    from pmdtheory.claims._base import Part
    from tiny_llm_rl.exact_lm import Enumerated

    model = Enumerated(*_SHOWN, width=16, seed=case.seed % 2**16)
    problem = exact_problem(model, case.rule, case.tau)
    found = fit(model, problem).unwrap()
    return [Part("transformer: Lambert-W policy, TV", "identity", _far(found, mean_update(problem).unwrap()), 1e-4)]


def _mutant(case: ExactLM) -> "list[Part]":
    from pmdtheory.claims._base import SOLVER, Part

    model, problem, step = _solved(case)
    if step.step_size < 1e-3:
        return []
    found = fit(model, problem, target=problem.scaled_advantage - problem.log_policy).unwrap()
    return [Part("anchor forgotten, TV", "identity", _far(found, step), SOLVER * step.step_size)]


@cache
def _claims() -> "tuple[Claim, ...]":
    from pmdtheory.claims._base import Claim

    case: Any = ExactLM
    return (
        Claim(
            id="C20",
            title="The bridge",
            statement=(
                r"\arg\min_\theta \mathrm{E}_\pi\tfrac{\tau}{2}\big(a - \log\tfrac{\pi_\theta}{\pi}\big)^2"
                r" \text{ over an enumerated sequence model has } \pi_\theta = \pi\, W_0(\lambda e^a)/\lambda;"
                r"\quad \text{of } N \text{ rollouts: } \mathrm{TV} = O(N^{-1/2})"
            ),
            source="this project",
            kind="identity",
            assumes="a model that realises the step: free logits for every prefix, or a wide transformer",
            instances=_instances,
            check=_c20,
            mutant=_mutant,
            mistake="the anchor forgotten: the regression of log pi_theta, not of log pi_theta/pi",
            blunt="steps of total variation below 1e-3",
            opinion=_opinion if find_spec("jax") and find_spec("equinox") else None,
            case=case,
        ),
    )


def __getattr__(name: str) -> Any:
    """`CLAIMS`, after the registry, which asks for it too."""
    if name != "CLAIMS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pmdtheory.claims  # noqa: F401

    return _claims()
