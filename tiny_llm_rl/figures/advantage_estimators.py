"""Estimators of the advantage against what they estimate, exactly: bias, error, and the step they add up to."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from pmdtheory._checks import FloatArray
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, GUIDE, LIMIT, MEAN, ORANGE, SKY, VERMILLION, Style
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update, kl_update, mean_update

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PART: dict[str, Any] = {"color": ORANGE, "linestyle": (0, (5, 1, 1, 1)), "linewidth": 1.3}
CLAMPED: dict[str, Any] = {"color": BLACK, "linestyle": (0, (4, 1, 1, 1, 1, 1)), "linewidth": 0.9}
ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean-loo": ("mean of the others", MEAN),
    "mean": ("mean of the group", {"color": SKY, "linestyle": (0, (3, 1)), "linewidth": 1.2}),
    "partition-loo": ("partition of the others", PART),
    "partition": ("partition of the group", {"color": VERMILLION, "linestyle": (0, (1, 1)), "linewidth": 1.3}),
    "partition-clamped": (
        "partition, clamped",
        {"color": BLACK, "linestyle": (0, (4, 1, 1, 1, 1, 1)), "linewidth": 0.9},
    ),
}
EXACT = (mean_update, kl_update)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Exact expectations over groups of binary rewards: a sum over the number of successes among the others."""
    import jax

    low, high = config["log_odds"]
    p = special.expit(np.linspace(low, high, config["points"]))
    tau, n = config["tau"], config["rollouts"]
    with jax.enable_x64(True):
        along = [[_moments(name, q, n, tau) for q in p] for name in ESTIMATORS]
        sizes = [[_moments(name, config["p"], m, tau)[2] for m in config["sizes"]] for name in ESTIMATORS]
        steps = [[_step(name, q, n, tau) for q in p] for name in ESTIMATORS]
    table = np.array(along)
    return {
        "p": p,
        "bias": table[:, :, 0],
        "rmse": table[:, :, 2],
        "sizes": np.array(config["sizes"], np.float64),
        "rmse_sizes": np.array(sizes),
        "step": np.array(steps),
        "exact": np.array(
            [[f(Problem.binary(q, tau)).unwrap().policy[1] for q in p] for f in (mean_update, kl_update)]
        ),
    }


@cache
def _values(name: str, n: int, tau: float) -> FloatArray:
    """The advantage `[n, 2]` of a failure and of a success with k successes among the others."""
    import jax

    from tiny_llm_rl.advantage import advantage

    others = (np.arange(n - 1) < np.arange(n)[:, None]).astype(np.float64)
    groups = np.stack([np.insert(others, 0, r, axis=1) for r in (0.0, 1.0)], 1)
    return np.asarray(jax.jit(lambda rewards: advantage(rewards, tau, baseline=name))(groups))[..., 0]


def _law(name: str, p: float, n: int, tau: float) -> tuple[FloatArray, FloatArray]:
    """The advantages `[n, 2]`, and the law `[n]` of k."""
    return _values(name, n, tau), stats.binom(n - 1, p).pmf(np.arange(n))


def _moments(name: str, p: float, n: int, tau: float) -> tuple[float, float, float]:
    """Bias of a success's advantage and of a failure's, and the root mean square error of any rollout's."""
    values, law = _law(name, p, n, tau)
    baseline = p if name.startswith("mean") else tau * Problem.binary(p, tau).log_partition
    error = values - (np.array([0.0, 1.0]) - baseline)
    failure, success = law @ error
    return float(success), float(failure), float(np.sqrt((law @ error**2) @ [1.0 - p, p]))


def _step(name: str, p: float, n: int, tau: float) -> float:
    """Success mass after the population step towards the estimator's mean; NaN where there is none."""
    values, law = _law(name, p, n, tau)
    problem = Problem.from_policy([1.0 - p, p], law @ values, tau)
    step = baseline_update(problem, baseline=0.0).value
    return float("nan") if step is None else float(step.policy[1])


def draw(data: Arrays, style: Style) -> "Canvas":
    """Bias (a) and error (b) over the success rate, error over the group's size (c), success mass after a step (d)."""
    canvas, panels = style.panels(2, 2, height=1.24)
    bias, error, sizes, step = panels
    bias.axhline(0.0, **GUIDE)
    for i, (label, look) in enumerate(ESTIMATORS.values()):
        bias.plot(data["p"], data["bias"][i], label=label, **look)
        error.plot(data["p"], data["rmse"][i], **look)
        sizes.plot(data["sizes"], data["rmse_sizes"][i], marker="o", markerfacecolor="white", **look)
        step.plot(data["p"], data["step"][i], **look)
    step.plot(data["p"], data["exact"][1], label="KL-PMD", **LIMIT)
    for axes in (bias, error, step):
        axes.set(xscale="log", xlabel="success rate $p$", xlim=(data["p"][0], 1.0), xticks=[1e-3, 1e-2, 1e-1, 1.0])
    bias.set_ylabel("bias of a success")
    for axes in (error, sizes):
        axes.set(yscale="log", ylabel="error (rms)")
    sizes.set_xscale("log", base=2)
    sizes.set(xlabel="rollouts a group, $n$", xticks=data["sizes"])
    sizes.set_xticklabels([f"{n:g}" for n in data["sizes"]])
    sizes.yaxis.set_minor_formatter("")
    step.set(ylabel="$p^+$", ylim=(0.0, 1.03))
    titles = ("$n=8$", "$n=8$", "$p=.05$", "step, $n=8$")
    for letter, title, axes in zip("abcd", titles, panels, strict=True):
        style.title(axes, letter, title)
    handles = [*bias.get_lines()[1:], step.get_lines()[-1]]
    canvas.legend(handles=handles, loc="outside upper center", ncols=2)
    return canvas


FIGURE = Figure(
    name="advantage_estimators",
    title="Estimators of the advantage",
    caption=r"""Five estimators of the advantage from a group of $n$ binary rewards against what they estimate,
    $r - \bar r$ for means and $r - \tau\log Z$ for partitions; $\tau = 0.03$ (reward units), exact expectations over
    groups. a: bias of the advantage of a success. The mean of the others has none (C12). The partition of the others is
    far too low where groups hold no other success, and the advantage too large; the clamp of public code cuts it to at
    most $\tau\log 10^8 = .55$. Counting oneself takes $1/n$ off the mean, and of the partition's advantage it leaves at
    most $\tau\log n$. b, c: root mean square error of the advantage of any rollout, over $p$ and over $n$: the mean is
    the easier quantity on hard prompts, the partition on easy ones (C16). d: success mass after the step that the
    regression takes towards the mean of the estimates, beside that of KL-PMD (that of PMD-mean is the solid line). With
    oneself in the partition mass goes missing, and on hard prompts there is no symmetric minimum any more (C14).""",
    config={
        "log_odds": [-7.0, 4.0],
        "points": 67,
        "tau": 0.03,
        "rollouts": 8,
        "p": 0.05,
        "sizes": [2, 4, 8, 16, 32, 64],
    },
    arrays={
        "p": "[P], success rate",
        "bias": "[E, P], of a success's advantage, reward units",
        "rmse": "[E, P], of the advantage of any rollout, reward units",
        "sizes": "[N], rollouts of a group",
        "rmse_sizes": "[E, N], reward units",
        "step": "[E, P], success mass after the population step",
        "exact": "[K, P], the same of PMD-mean and KL-PMD",
    },
    compute=compute,
    draw=draw,
)
