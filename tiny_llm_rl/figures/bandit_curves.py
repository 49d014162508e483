"""How success, diversity, entropy and the distance from one's own exact step go over a run on a bandit."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLUE, Style
from tiny_llm_rl.figures._bandit_runs import LOOKS, band, interval, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

TITLES = {
    "pmd-mean": "PMD-mean",
    "pmd-part": "PMD-part",
    "kl-chi2": r"KL and $\chi^2$",
    "grpo": "GRPO",
    "rloo-is": "RLOO",
    "exact-mean": "exact step",
}
METRICS = ("success", "diversity", "entropy", "distance")
MANY: dict[str, Any] = {"color": BLUE, "linestyle": "-", "linewidth": 0.8, "marker": "s", "markerfacecolor": "white"}

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """The metrics of every algorithm, and of PMD-mean with many rollouts as the last row."""
    runs = [{**config["bandit"], "algorithm": name} for name in TITLES]
    runs.append({**runs[0], "groups": config["many"]})
    found = [rows(options, config["seeds"]) for options in runs]
    return {name: np.array([interval(metrics[name])[0] for metrics in found]) for name in METRICS}


def draw(data: Arrays, style: Style) -> "Canvas":
    """Success mass (a), successful actions kept (b), entropy (c), distance from one's own exact step (d)."""
    canvas, panels = style.panels(2, 2, height=1.24)
    for axes, metric in zip(panels, METRICS, strict=True):
        table = data[metric]
        batches = np.arange(table.shape[1], dtype=np.float64) + (metric == "distance")
        for i, (name, title) in enumerate(TITLES.items()):
            if metric != "distance" or name != "exact-mean":
                band(axes, batches, table[i], label=title, **LOOKS[name])
        band(axes, batches, table[-1], label="PMD-mean, 512 groups", markevery=(7, 12), **MANY)
        axes.set(xlabel="batches", xlim=(0, data["success"].shape[1] - 1))
    panels[0].set(ylim=(-0.02, 1.05), ylabel="success mass")
    panels[1].set(yscale="log", ylabel="successes kept", yticks=[1, 3, 10, 30, 100])
    panels[1].set_yticklabels(["1", "3", "10", "30", "100"])
    panels[2].set(ylabel="entropy (nats)")
    panels[3].set(yscale="log", ylabel="total variation", ylim=(3e-3, 1.5))
    titles = ("success", "diversity", "entropy", "from own exact step")
    for letter, title, axes in zip("abcd", titles, panels, strict=True):
        style.title(axes, letter, title)
    handles = [line for line in panels[0].get_lines() if str(line.get_label())[0] != "_"]
    canvas.legend(handles=handles, loc="outside upper center", ncols=3)
    return canvas


FIGURE = Figure(
    name="bandit_curves",
    title="Runs on a bandit",
    caption=r"""Softmax policies on a bandit with 1,000 actions of which a tenth succeed, with a mass of .01 in all at
    the start; binary rewards, $\tau = 0.1$ (reward units), 32 groups of 4 rollouts a batch, 50 Adam steps on the logits
    at learning rate .005. Means over 20 seeds with 95 % bootstrap intervals. a: success mass. b: effective number of
    successful actions, the exponential of the entropy among them, of 100. The exact step keeps all of them, since equal
    rewards move together (C10); with samples those drawn first take over, and about 2 are left after 60 batches, 20
    with 16 times the rollouts. c: entropy. d: total variation between the policy after a batch and the step that the
    algorithm aims at from the same policy: PMD-mean's (C1), KL-PMD for PMD-part, the step with an explicit $\chi^2$ of
    weight 1 (C2). It rises first, since the exact step grows with the success mass (C9), and the 50 steps do not. GRPO
    and RLOO aim at no policy.""",
    config={
        "bandit": {
            "actions": 1000,
            "success_mass": 0.01,
            "success_fraction": 0.1,
            "tau": 0.1,
            "groups": 32,
            "rollouts": 4,
            "batches": 60,
        },
        "many": 512,
        "seeds": 20,
    },
    arrays={
        "success": "[A, P, I], success mass; mean over seeds, ends of its interval",
        "diversity": "[A, P, I], effective number of successful actions",
        "entropy": "[A, P, I], nats",
        "distance": "[A, T, I], total variation to the algorithm's own population step; NaN where it has none",
    },
    compute=compute,
    draw=draw,
    packages=("jax", "optax"),
    expensive=True,
)
