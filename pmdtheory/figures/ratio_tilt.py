r"""How the ratio grows with the reward: exponentially for KL-PMD, almost linearly for PMD-mean."""

from typing import TYPE_CHECKING

import numpy as np

from pmdtheory.figures._record import Arrays, Config, Figure
from pmdtheory.figures._style import GUIDE, KL, LIMIT, MEAN, Style
from pmdtheory.problem import Problem
from pmdtheory.update import kl_update, mean_update, mixed_update

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

RANGES = ((0.1, 5.0), (1e-3, 60.0))  # of the ratio, in the upper and the lower row

__all__ = ["FIGURE"]


def compute(config: Config) -> Arrays:
    r"""Log-ratios of the members of the family, for rewards uniform on [0, 1].

    The law is its Gauss-Legendre rule of `nodes` points, exact to rounding for \(e^{r/\tau}\) down to tau = 0.02.
    Member k has the chi2 weight `share[k]` times lambda, the multiplier of PMD-mean: share 0 is KL-PMD, 1 PMD-mean.
    """
    node, weight = np.polynomial.legendre.leggauss(config["nodes"])
    reward, policy = (node + 1.0) / 2.0, weight / weight.sum()
    above = np.maximum(reward - np.sum(policy * reward), 0.0)
    log_ratio, multiplier = [], []
    for tau in config["tau"]:
        problem = Problem.from_policy(policy, reward, tau)
        mean = mean_update(problem).unwrap()
        rows = []
        for share in config["share"]:
            if share == 0.0:
                step = kl_update(problem).unwrap()
            elif share == 1.0:
                step = mean
            else:
                step = mixed_update(problem, weight=share * mean.multiplier).unwrap()
            rows.append(step.log_ratio)
        log_ratio.append(rows)
        multiplier.append(mean.multiplier)
    return {
        "tau": np.array(config["tau"]),
        "share": np.array(config["share"]),
        "reward": reward,
        "multiplier": np.array(multiplier),
        "log_ratio": np.array(log_ratio),
        "limit_ratio": above / np.sum(policy * above),
    }


def _label(share: float) -> str:
    if share == 0.0:
        return "KL-PMD ($c=0$)"
    if share == 1.0:
        return r"PMD-mean ($c=\lambda$)"
    return rf"$c={share:g}\lambda$" if share > 1.0 else rf"$c=\lambda/{1 / share:g}$"


def draw(data: Arrays, style: Style) -> "Canvas":
    """One panel per tau, one line per member; the limit of C21 where tau is smallest."""
    canvas, panels = style.panels(2, 2, height=1.0, sharex=True, sharey="row")
    between = iter(style.ramp(int(np.sum((data["share"] != 0.0) & (data["share"] != 1.0)))))
    looks = [
        KL if share == 0.0 else MEAN if share == 1.0 else {**next(between), "linewidth": 0.8} for share in data["share"]
    ]
    for t, (axes, tau) in enumerate(zip(panels, data["tau"], strict=True)):
        axes.axhline(1.0, **GUIDE)
        for k, (share, look) in enumerate(zip(data["share"], looks, strict=True)):
            ratio = np.exp(data["log_ratio"][t, k])
            axes.plot(data["reward"], ratio, label=_label(float(share)), markevery=(8 + 5 * k, 24), **look)
        if tau == data["tau"].min():
            seen = data["limit_ratio"] > 0.0
            axes.plot(data["reward"][seen], data["limit_ratio"][seen], label=r"PMD-mean, $\tau\to0$", **LIMIT)
        axes.set(yscale="log", xlim=(0.0, 1.0), ylim=RANGES[t // 2], xticks=[0.0, 0.5, 1.0])
        style.title(axes, "abcd"[t], rf"$\tau={tau:g}$,  $\lambda={data['multiplier'][t]:#.2g}$")
    panels[0].set_yticks([0.1, 0.3, 1.0, 3.0], ["0.1", "0.3", "1", "3"])
    panels[0].yaxis.set_minor_formatter("")
    canvas.supxlabel("reward $r$ (reward units)", fontsize=style.font)
    canvas.supylabel(r"ratio $\rho=\pi^+/\pi$", fontsize=style.font)
    handles, labels = panels[-1].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=3)
    return canvas


FIGURE = Figure(
    name="ratio_tilt",
    title="The ratio against the reward",
    caption=r"""Ratio $\rho = \pi^+/\pi$ against the reward, for rewards uniform on [0, 1] and four $\tau$ (reward
    units). KL-PMD tilts exponentially (straight lines here); PMD-mean's Lambert W form grows exponentially only
    while $\lambda\rho < 1$ and then almost linearly (C1). Members between, and one beyond, carry an explicit
    $\chi^2$ of weight $c$; at $c = \lambda$ it is PMD-mean's implicit one (C2). Every member starts above KL-PMD
    and crosses it once, so that its ratios lie inside KL-PMD's range (C8). As $\tau \to 0$ PMD-mean's ratio tends
    to $(r - \bar r)^+/E(r - \bar r)^+$, dotted in d, and the step never becomes greedy (C21).""",
    config={"tau": [1.0, 0.3, 0.1, 0.03], "share": [0.0, 0.0625, 0.25, 1.0, 4.0], "nodes": 129},
    arrays={
        "tau": "[T], reward units",
        "share": "[S], chi2 weight as a fraction of lambda",
        "reward": "[R], reward units",
        "multiplier": "[T], lambda of PMD-mean",
        "log_ratio": "[T, S, R], nats",
        "limit_ratio": "[R], the limit of PMD-mean's ratio as tau falls to 0",
    },
    compute=compute,
    draw=draw,
)
