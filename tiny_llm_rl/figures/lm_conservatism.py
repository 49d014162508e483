"""What one batch does to the pass rate of prompts, measured, against the exact steps."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, KL, MEAN, Style
from tiny_llm_rl.figures._lm_runs import LOOKS, PACKAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

ARMS = {"mean": "pmd-mean", "part": "pmd-part"}
MARKS = ("o", "s", "^", "D", "v")

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """Measured steps of policies with different pass rates, and the exact ones at the same pass rates."""
    from pmdtheory import Problem, batch, mean_update
    from tiny_llm_rl.config import TrainConfig
    from tiny_llm_rl.measured_step import measured_step
    from tiny_llm_rl.pretrain import rehearsed
    from tiny_llm_rl.train import load_base

    base = load_base(config["base"])
    shape = (len(ARMS), len(config["rehearsal"]), config["seeds"])
    before, after, implied = (np.full(shape, np.nan) for _ in range(3))
    for j, steps in enumerate(config["rehearsal"]):
        start = (rehearsed(base, steps), *base[1:])
        for i, algorithm in enumerate(ARMS.values()):
            for seed in range(config["seeds"]):
                run = TrainConfig(algorithm=algorithm, tau=config["tau"], seed=seed, **config["run"])
                rates = measured_step(run, start, samples=config["samples"])
                before[i, j, seed], after[i, j, seed] = rates.before.mean(), rates.after.mean()
                groups = (np.arange(config["samples"]) < np.rint(rates.before * config["samples"])[:, None]) * 1.0
                implied[i, j, seed] = batch.mean_update(groups, config["tau"]).multiplier.mean()
    grid = np.linspace(0.02, 0.98, 97)
    exact = [mean_update(Problem.binary(p, config["tau"])).unwrap() for p in grid]
    return {
        "before": before, "after": after, "implied": implied,
        "grid": grid, "exact_change": np.array([np.diff(step.level_log_ratio)[0] for step in exact]),
        "exact_implied": np.array([step.multiplier for step in exact]),
    }  # fmt: skip


def draw(data: Arrays, style: Style) -> "Canvas":
    """Change of the log-odds (a) and implied multiplier (b) against the pass rate before."""
    from tiny_llm_rl.measured_step import log_odds_change

    canvas, (steps, multipliers) = style.panels(1, 2, height=1.0)
    tau = FIGURE.config["tau"]
    grid = data["grid"]
    steps.plot(grid, data["exact_change"], **MEAN, label="exact, PMD-mean")
    steps.axhline(1 / tau, **KL, label="exact, KL-PMD")
    steps.axhline(0, **GUIDE)
    for i, arm in enumerate(ARMS):
        p, q = data["before"][i], data["after"][i]
        look: dict[str, Any] = {"color": LOOKS[arm]["color"], "linestyle": "none", "marker": MARKS[i]}
        steps.plot(p.ravel(), log_odds_change(p, q).ravel(), **look, markerfacecolor="white", markersize=3,
                   label=f"measured, PMD-{arm}")  # fmt: skip
    steps.set_yscale("symlog", linthresh=1.0)
    multipliers.plot(grid, data["exact_implied"], **MEAN, label="one pass rate")
    multipliers.plot(data["before"][0].ravel(), data["implied"][0].ravel(), color=LOOKS["mean"]["color"], marker="o",
                     linestyle="none", markerfacecolor="white", markersize=3, label="prompts of a batch")  # fmt: skip
    for ax in (steps, multipliers):
        ax.set_xlabel("pass rate before")
        ax.set_xlim(0, 1)
    multipliers.set_ylim(0, 1.35 * multipliers.dataLim.y1)
    style.title(steps, "a", "change of the log-odds, nats")
    style.title(multipliers, "b", r"implied $\lambda$")
    canvas.legend(*steps.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    multipliers.legend(loc="upper left")
    return canvas


FIGURE = Figure(
    name="lm_conservatism",
    title="Measured steps of the small language model against the exact ones",
    caption=r"""One batch of PMD-mean and PMD-part ($\tau = .1$, 256 prompts with 8 rollouts, 4 epochs of 16
    updates) from policies of different pass rates, three seeds: the shipped base after a number of steps on right
    demonstrations. a: by how much the log-odds of a right answer to the batch's own prompts change, measured on
    fresh responses (symmetric logarithmic axis, linear within one nat), against the exact steps at that pass rate
    (C1, C4; $1/\tau$ for KL-PMD). b: $\lambda$ of the exact step of PMD-mean, at the pass rate of each prompt, mean
    over the prompts, and for a law with one pass rate (C4). A network that shares its parameters between prompts
    and sees 8 responses of each takes a small part of the exact step of PMD-mean; PMD-part's step, whose targets
    tell most sampled responses to lose probability, lowers the pass rate everywhere.""",
    config={
        "base": "digit-sum",
        "tau": 0.1,
        "rehearsal": [0, 5, 10, 20, 40, 150],
        "seeds": 3,
        "samples": 16,
        "run": {"prompts": 256, "rollouts": 8, "epochs": 4, "minibatches": 16, "learning_rate": 2e-4},
    },
    arrays={
        "before": "[2, R, S], pass rate",
        "after": "[2, R, S], pass rate",
        "implied": "[2, R, S]",
        "grid": "[K], pass rate",
        "exact_change": "[K], nats",
        "exact_implied": "[K]",
    },
    compute=compute,
    draw=draw,
    packages=PACKAGES,
    expensive=True,
)
