r"""What an overestimated partition function does: one action takes the missing mass, and not always a good one."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.collapse import global_minimum, global_switch, local_threshold
from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import BLACK, BLUE, LIMIT, ORANGE, VERMILLION, Style
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SYMMETRIC: dict[str, Any] = {"linestyle": (0, (2.5, 1.2)), "linewidth": 0.9}
ACTIONS: tuple[dict[str, Any], ...] = (
    {"color": VERMILLION, "marker": "s", "markerfacecolor": "white", "linewidth": 1.5},
    {"color": BLUE, "marker": "o", "markerfacecolor": "white"},
    {"color": ORANGE, "marker": "^", "markerfacecolor": "white"},
)
REWARD: dict[str, Any] = {"color": BLACK, "linestyle": (0, (5, 1.2, 1, 1.2)), "linewidth": 0.9}
AROUND = (-1e-6, 1e-6, 0.004, 0.015, 0.04)  # a switch

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    """The global minimisers on a grid of excesses, with a point on either side of every switch.

    Uniform actions first: the largest mass of one action, and the same for the symmetric minimum while there is one.
    Then every action of the example, in which a failure wins in the end.
    """
    low, high = config["excess"]
    grid = np.linspace(low, high, config["points"])
    uniform = [_uniform(size, config) for size in config["actions"]]
    switch = np.array([global_switch(problem) for problem in uniform])
    excess = np.stack([_split(grid, at) for at in switch])
    symmetric = np.array([[_symmetric(q, float(e)) for e in row] for q, row in zip(uniform, excess, strict=True)])
    winner = np.array(
        [[_winner(q, float(e), at) for e in row] for q, row, at in zip(uniform, excess, switch, strict=True)]
    )
    example = Problem.from_policy(config["policy"], config["reward"], config["example_tau"])
    turn = _turn(example, low, high)
    along = _split(grid, turn)
    steps = [global_minimum(example, excess=float(e)) for e in along]
    policy = example.policy * np.exp(np.stack([step.log_ratio for step in steps]))
    return {
        "actions": np.array(config["actions"], dtype=np.float64),
        "switch": switch,
        "threshold": np.array([local_threshold(problem) for problem in uniform]),
        "excess": excess,
        "winner_mass": np.where(np.isnan(winner), symmetric, winner),
        "symmetric_mass": np.array(
            [[_symmetric(q, float(e)) for e in row] for q, row in zip(uniform, excess, strict=True)]
        ),
        "example_switch": np.array(turn),
        "example_excess": along,
        "example_rewards": example.reward,
        "example_policy": policy.T,
        "example_reward": np.array([step.expected_reward for step in steps]),
    }


def _uniform(size: int, config: Config) -> Problem:
    """Uniform actions of which a share succeeds."""
    success = np.arange(size) >= round(size * (1.0 - config["success"]))
    return Problem.from_policy(np.full(size, 1.0 / size), success.astype(np.float64), config["tau"])


def _split(grid: FloatArray, at: float) -> FloatArray:
    """The grid with a point just before a switch and a few soon after it, where the winner rises fast."""
    return np.sort(np.concatenate([grid, at + np.array(AROUND)]))


def _turn(problem: Problem, low: float, high: float) -> float:
    """The excess at which the winner changes to the one that it has at the upper end."""
    last = global_minimum(problem, excess=high).winner
    for _ in range(45):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if global_minimum(problem, excess=middle).winner == last else (middle, high)
    return high


def _winner(problem: Problem, excess: float, switch: float) -> float:
    """The winner's mass at the global minimiser; NaN before the switch, where it is the symmetric one."""
    if excess < switch:
        return float("nan")
    return float(np.max(problem.policy * np.exp(global_minimum(problem, excess=excess).log_ratio)))


def _symmetric(problem: Problem, excess: float) -> float:
    """The largest mass of one action at the symmetric minimum; NaN where there is none."""
    step = baseline_update(problem, baseline=problem.log_partition + excess).value
    return float("nan") if step is None else float(np.max(step.policy))


def draw(data: Arrays, style: Style) -> "Canvas":
    """The winner's mass with both thresholds for uniform actions (a), and the example's actions (b)."""
    canvas, (uniform, example) = style.panels(1, 2, height=0.72, sharey=True)
    uniform.axvline(data["threshold"][0], label="local threshold", **LIMIT)
    looks = style.ramp(data["actions"].size)
    for i, look in enumerate(looks):
        excess, mass = data["excess"][i], data["winner_mass"][i]
        plain = {**look, "marker": ""}
        known = ~np.isnan(data["symmetric_mass"][i]) & (excess > data["switch"][i])
        uniform.plot(excess[known], data["symmetric_mass"][i][known], **{**plain, **SYMMETRIC})
        after = excess > data["switch"][i]
        jump = np.array([mass[~after][-1], mass[after][0]])
        uniform.plot([data["switch"][i]] * 2, jump, **{**plain, "linewidth": 0.5})
        for part in (~after, after):
            uniform.plot(excess[part], mass[part], markevery=(2 + 2 * i, 11), **look)
    _example(example, data)
    for letter, title, axes in zip("ab", ("uniform actions", "three actions"), (uniform, example), strict=True):
        axes.set(xlim=(0.0, data["excess"].max()), ylim=(0.0, 1.02), xlabel=r"excess $b-\log Z$ (nats)")
        style.title(axes, letter, title)
    uniform.set_ylabel("largest mass of one action")
    example.set_ylabel(r"mass, $\mathrm{E}r$")
    example.tick_params(labelleft=True)
    _legend(canvas, uniform, example, data, looks)
    return canvas


def _example(axes: "Axes", data: Arrays) -> None:
    """Masses of the three actions and the expected reward, broken at the switch."""
    excess = data["example_excess"]
    rows = [*data["example_policy"], data["example_reward"]]
    labels = [rf"$r={r:g}$" for r in data["example_rewards"]]
    for i, (row, look, label) in enumerate(zip(rows, (*ACTIONS, REWARD), [*labels, r"$\mathrm{E}r$"], strict=True)):
        after = excess > data["example_switch"]
        axes.plot(excess[~after], row[~after], label=label, markevery=(2 + 2 * i, 10), **look)
        axes.plot(excess[after], row[after], markevery=(2 + 2 * i, 10), **look)
        jump = np.array([row[~after][-1], row[after][0]])
        axes.plot([data["example_switch"]] * 2, jump, **{**look, "marker": "", "linewidth": 0.5})


def _legend(canvas: "Canvas", uniform: "Axes", example: "Axes", data: Arrays, looks: list[dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    sizes = [Line2D([], [], label=f"{n:g} actions", **look) for n, look in zip(data["actions"], looks, strict=True)]
    local = Line2D([], [], label="symmetric, not best", color="0.3", **SYMMETRIC)
    canvas.legend(handles=[*sizes, uniform.get_lines()[0], local], loc="outside upper center", ncols=3)
    example.legend(loc="center", bbox_to_anchor=(0.73, 0.47), borderpad=0.0)


FIGURE = Figure(
    name="collapse",
    title="Collapse beyond the partition function",
    caption=r"""What the global minimiser of PMD($b$) does when $b$ exceeds $\log Z$, against the excess (C14). a:
    largest mass of one action, for uniform actions of which 3/8 succeed, binary rewards and $\tau = 0.5$ (reward
    units). At small excess all successes rise alike; at a first-order switch one of them takes the missing mass, the
    earlier the more actions there are (.852, .582 and .273 nats). The symmetric minimum (dashed) lives on as a local
    one up to the local threshold (dotted, .880), the same for all, as it depends on the law of the reward only. b:
    three actions, $\pi = (.02, .38, .6)$ with $r = (0, 1, .5)$, $\tau = 0.4$. The success wins at first, but the
    missing mass costs least on the rarest action, a failure, which takes it beyond 1.27 nats. PMD-mean never meets
    this: its $b$ is at most $\log Z$.""",
    config={
        "actions": [8, 40, 400],
        "success": 0.375,
        "tau": 0.5,
        "policy": [0.02, 0.38, 0.6],
        "reward": [0.0, 1.0, 0.5],
        "example_tau": 0.4,
        "excess": [0.02, 3.0],
        "points": 37,
    },
    arrays={
        "actions": "[U], number of uniform actions",
        "switch": "[U], excess of the first-order switch, nats",
        "threshold": "[U], excess up to which a symmetric minimum exists, nats",
        "excess": "[U, E], b - log Z, nats",
        "winner_mass": "[U, E], largest mass of one action at the global minimiser",
        "symmetric_mass": "[U, E], the same at the symmetric minimum, where there is one",
        "example_switch": "[], excess from which the failure wins, nats",
        "example_excess": "[E], b - log Z, nats",
        "example_rewards": "[A], reward units",
        "example_policy": "[A, E], mass of each action at the global minimiser",
        "example_reward": "[E], expected reward, reward units",
    },
    compute=compute,
    draw=draw,
)
