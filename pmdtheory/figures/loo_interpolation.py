r"""PMD-part between PMD-mean and KL-PMD: its expected baseline and the chi2 it still carries, against the rollouts."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import LIMIT, Style
from pmdtheory.finite_sample import expected_baseline
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update, kl_update

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

ROLLOUTS = (2, 4, 8, 16, 32, 64, 128)
NEAR = 1.5  # how far the expansion may be from lambda where it is drawn

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    r"""Expected baseline and multiplier of PMD-part for every case (p, tau) and every n, by exact binomial sums.

    The expansion for many rollouts is \(\lambda \approx \frac{1}{2(n-1)}\,\chi^2/(1+\chi^2)\), with the chi2 of
    KL-PMD's step: the delta method for b, and the derivative of lambda at b = log Z.
    """
    problems = [Problem.binary(p, tau) for p, tau in config["p_tau"]]
    rollouts = np.array(config["n"], dtype=np.float64)
    baseline = np.array([[float(expected_baseline(q, n - 1).value) for n in config["n"]] for q in problems])
    chi2 = np.array([kl_update(q).unwrap().chi2 for q in problems])
    return {
        "p": np.array([p for p, _ in config["p_tau"]]),
        "tau": np.array([tau for _, tau in config["p_tau"]]),
        "n": rollouts,
        "baseline": baseline,
        "lower": np.array([q.mean_reward / q.tau for q in problems]),
        "upper": np.array([q.log_partition for q in problems]),
        "multiplier": np.array(
            [
                [baseline_update(q, baseline=b).unwrap().multiplier for b in row]
                for q, row in zip(problems, baseline, strict=True)
            ]
        ),
        "far_multiplier": (chi2 / (1.0 + chi2))[:, None] / (2.0 * (rollouts - 1.0)),
    }


def draw(data: Arrays, style: Style) -> "Canvas":
    """Where b lies between its ends (a), and the multiplier with its expansion (b), one line per case."""
    canvas, (share, weight) = style.panels(1, 2, height=0.68)
    n = data["n"]
    looks: list[dict[str, Any]] = style.ramp(data["p"].size)
    for i, look in enumerate(looks):
        label = rf"$p={data['p'][i]:g},\ \tau={data['tau'][i]:g}$"
        marked = [j for j, size in enumerate(n) if size in ROLLOUTS]
        between = (data["baseline"][i] - data["lower"][i]) / (data["upper"][i] - data["lower"][i])
        far, exact = data["far_multiplier"][i], data["multiplier"][i]
        off = np.flatnonzero((far > NEAR * exact) | (exact > NEAR * far))
        near = slice(off[-1] + 1 if off.size else 0, None)
        weight.plot(n[near], far[near], **{**LIMIT, "zorder": 3.0})
        share.plot(n, between, label=label, markevery=marked, **look)
        weight.plot(n, exact, markevery=marked, **look)
    share.set(ylim=(-0.03, 1.03), ylabel=r"$(b_{n-1}-\bar r/\tau)\,/\,J$")
    weight.set(yscale="log", ylim=(4e-4, 5.0), ylabel=r"$\lambda(b_{n-1})$")
    for letter, title, axes in zip(
        "ab", ("place of the baseline", r"$\chi^2$ weight left"), (share, weight), strict=True
    ):
        axes.set(xscale="log", xlim=(1.85, 140.0), xlabel="rollouts $n$")
        axes.set_xticks(ROLLOUTS[::2], [str(n) for n in ROLLOUTS[::2]])
        axes.set_xticks(ROLLOUTS[1::2], [], minor=True)
        style.title(axes, letter, title)
    handles, labels = share.get_legend_handles_labels()
    dotted = weight.get_lines()[0]
    canvas.legend([*handles, dotted], [*labels, "expansion, many $n$"], loc="outside upper center", ncols=2)
    return canvas


def _sizes(last: int) -> list[int]:
    """Whole numbers from 2 on, every one at first and then evenly in their logarithm."""
    return sorted({round(2.0 ** (1.0 + k / 6.0)) for k in range(math.ceil(6 * math.log2(last / 2)) + 1)})


FIGURE = Figure(
    name="loo_interpolation",
    title="PMD-part between PMD-mean and KL-PMD",
    caption=r"""PMD-part with $n$ rollouts is PMD($b_{n-1}$) in population, for binary rewards of success mass $p$ at
    several $\tau$ (reward units) (C12). a: its expected leave-one-out baseline, as a fraction of the way from
    $\bar r/\tau$, PMD-mean's, to $\log Z$, KL-PMD's; $J = \log Z - \bar r/\tau$. b: the weight $\lambda(b_{n-1})$ of
    the $\chi^2$ that it carries all the same. With two rollouts PMD-part is PMD-mean, and where successes are rare it
    stays near it until a group holds some. Dotted: $\frac{1}{2(n-1)}\,\chi^2/(1+\chi^2)$ for many rollouts, with
    the $\chi^2$ of KL-PMD's step, drawn from where on it is within a factor 1.5.""",
    config={
        "p_tau": [[0.01, 0.1], [0.1, 0.1], [0.1, 0.3], [0.5, 0.1], [0.5, 1.0]],
        "n": _sizes(128),
    },
    arrays={
        "p": "[C], success mass",
        "tau": "[C], reward units",
        "n": "[N], rollouts of a group",
        "baseline": "[C, N], expected leave-one-out baseline, nats",
        "lower": "[C], mean reward over tau, nats",
        "upper": "[C], log Z, nats",
        "multiplier": "[C, N], lambda of PMD(b)",
        "far_multiplier": "[C, N], its expansion for many rollouts",
    },
    compute=compute,
    draw=draw,
)
