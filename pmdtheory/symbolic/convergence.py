"""C17: the regret of a run against the best reward, as an identity that telescopes."""

import sympy as sp

from pmdtheory.symbolic._step import Derivation, Step
from pmdtheory.symbolic._symbols import CHI2, KL, LAM, MEAN, TAU

__all__ = ["C17"]


def _c17() -> Derivation:
    best, after = sp.symbols("r_best r_after", real=True)
    ratio = sp.Symbol("rho_best", positive=True)
    steps = sp.Symbol("T", integer=True, nonnegative=True)
    share = sp.Function("pi", positive=True)
    now, then, start = share(steps), share(steps + 1), share(0)
    one = TAU * sp.log(ratio) + TAU * LAM * (ratio - 1 - CHI2) - TAU * KL
    return Derivation(
        "C17",
        r"\sum_{t<T} (r^* - E_{t+1} r) = \tau\log\frac{\pi_T(A^*)}{\pi_0(A^*)}"
        r" + \tau\sum_t \lambda_t[\rho_t(y^*) - 1 - \chi^2_t] - \tau\sum_t \mathrm{KL}(\pi_{t+1}\|\pi_t)",
        "one step of PMD-mean, t left out: mean r before it, r_after the mean after it, r_best the best reward, "
        "rho_best > 0 the ratio that all best actions share, K = KL(pi+||pi), lambda and chi^2 of the step; "
        "pi(T) > 0 is the share of the best actions before step T; tau > 0",
        (
            Step(
                best - MEAN,
                "=",
                TAU * (sp.log(ratio) + LAM * ratio),
                "C1 at a best action, with a = (r_best - mean r)/tau",
                given=(((best - MEAN) / TAU, sp.log(ratio) + LAM * ratio),),
            ),
            Step(
                best - after,
                "=",
                one,
                "less the improvement of C5",
                given=(
                    (best - MEAN, TAU * (sp.log(ratio) + LAM * ratio)),
                    (after - MEAN, TAU * (KL + LAM * (1 + CHI2))),
                ),
            ),
            Step(
                sp.log(then / start) - sp.log(now / start),
                "=",
                sp.log(ratio),
                "best actions share their ratio, so their total share is multiplied by it: the logarithms telescope",
                where={then: ratio * now},
            ),
            Step(
                TAU * sp.log(then / start) - TAU * sp.log(now / start) + TAU * LAM * (ratio - 1 - CHI2) - TAU * KL,
                "=",
                best - after,
                "from T to T + 1 both sides of the identity grow alike, and at T = 0 both are empty: induction",
                where={then: ratio * now},
                given=((best - after, one),),
            ),
        ),
    )


C17 = _c17()
