"""What public losses called PMD, OPMD or Kimi converge to: their stationary policies on the probe bandits."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLUE, GUIDE, ORANGE, VERMILLION, Style
from pmdtheory.problem import Problem
from pmdtheory.update import kl_update, mean_update
from pmdtheory.variants._bandits import BANDITS, stationary
from pmdtheory.variants._probe import Probe
from pmdtheory.variants._table import VARIANTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

EXACT = ("KL-PMD", "PMD-mean")
ACTIONS: tuple[dict[str, Any], ...] = (
    {"color": VERMILLION, "marker": "o", "markerfacecolor": "white"},
    {"color": ORANGE, "marker": "s", "markerfacecolor": "white"},
    {"color": BLUE, "marker": "^", "markerfacecolor": "white"},
    {"color": "#009E73", "marker": "D", "markerfacecolor": "white"},
)

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Every row's stationary policy on every bandit, from its own gradients; NaN where it has none.

    The first rows are the exact steps. All losses have the same tau; the detached one is left out, as its stationary
    policies are those of the square it detaches, and a clipped one, where they are no point.
    """
    known = {variant.name: variant for variant in VARIANTS}
    names = config["variants"]
    out = {}
    for bandit in BANDITS:
        problem = Problem.from_policy(bandit.policy, bandit.rewards(config["spread"]), config["tau"])
        rows = [step(problem).unwrap().policy for step in (kl_update, mean_update)]
        for name in names:
            tested = Probe(known[name].loss, "numpy", float(np.finfo(np.float64).eps))
            found = stationary(tested, bandit, config["n"], config["spread"]).policy
            rows.append(np.full(bandit.policy.size, np.nan) if found is None else found)
        out[bandit.name] = np.array(rows)
    return out


def draw(data: Arrays, style: Style) -> "Canvas":
    """A panel per bandit, a row per loss, a marker per response; lines mark the exact PMD-mean."""
    canvas, panels = style.panels(1, 3, height=1.05, sharey=True)
    names = [*EXACT, *FIGURE.config["variants"]]
    height = np.arange(len(names))
    for letter, bandit, axes in zip("abc", BANDITS, panels, strict=True):
        policies = data[bandit.name]
        for y in range(policies.shape[1]):
            axes.axvline(policies[1, y], **GUIDE)
        for y in range(policies.shape[1]):
            axes.plot(policies[:, y], height, linestyle="none", label=f"{y + 1}", **ACTIONS[y])
        for row in np.flatnonzero(np.isnan(policies[:, 0])):
            axes.plot([0.4], [row], linestyle="none", marker="x", color="0.4")
        axes.axhline(len(EXACT) - 0.5, **GUIDE)
        axes.set(xlim=(-0.05, 0.95), ylim=(len(names) - 0.5, -0.5))
        axes.set_xticks([0.0, 0.4, 0.8], ["0", ".4", ".8"])
        style.title(axes, letter, bandit.name)
    panels[0].set_yticks(height, names)
    panels[1].set_xlabel(r"mass $\pi^+$")
    handles, labels = panels[2].get_legend_handles_labels()
    crossed = panels[0].get_lines()[-2] if np.isnan(data["flat"]).any() else None
    if crossed is not None:
        handles, labels = [*handles, crossed], [*labels, "none in the simplex"]
    canvas.legend(handles, [f"response {k}" if k.isdigit() else k for k in labels], loc="outside upper center", ncols=3)
    return canvas


FIGURE = Figure(
    name="variants",
    title="What public losses called PMD converge to",
    caption=r"""Stationary policies of public losses on three probe bandits at the same $\tau$ (reward units), groups of
    3, found from the gradients of each loss over all groups; the two top rows are exact (C1), and grey lines continue
    PMD-mean. a: three responses of one token, masses 1/2, 1/4, 1/4, rewards rising. b: the same with 1, 2 and 4
    tokens: division by length counts as another sampler (C15). c: four responses of two tokens: squares of tokens
    differ from squares of sequences. The group's mean (kimi, trinity-rec-k2, verl-dro) acts as $\tau n/(n-1)$;
    PMD-part lies between PMD-mean and KL-PMD (C12). Crosses: policy gradients, which have no stationary policy
    inside the simplex.""",
    config={
        "tau": 0.1,
        "spread": 0.4,
        "n": 3,
        "variants": [
            "kimi",
            "pmd-mean",
            "pmd-part",
            "openkimi-rloo",
            "openkimi-ploo",
            "openkimi-weighted",
            "trinity-opmd",
            "trinity-rec-k2",
            "verl-dro",
            "prime-rl",
            "kl-chi2",
        ],
    },
    arrays={
        "flat": "[R, A], mass of each response; rows are the exact steps and then the losses",
        "lengths": "[R, A], the same",
        "tree": "[R, B], the same",
    },
    compute=compute,
    draw=draw,
)
