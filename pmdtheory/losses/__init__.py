r"""The losses of the PMD family and of its neighbours, written once for numpy, jax and torch arrays.

| loss | one term | its mean is over |
|---|---|---|
| `pmd_loss` | \(\tfrac{\tau}{2}(\text{target} - \ell)^2\) | sequences |
| `penalised_loss` | \(-\rho A\), a KL and a chi2 of the same ratio | sequences |
| `rloo_loss` | \(-\rho A\), or \(-A\log\pi\) | sequences |
| `gspo_loss` | clipped ratio of a sequence, \(\rho^{1/T}\) | sequences |
| `grpo_loss` | clipped ratio of a token, mean over its sequence | sequences |
| `dr_grpo_loss` | clipped ratio of a token, sum over its sequence | sequences |
| `dapo_loss` | clipped ratio of a token, clipped higher above | tokens of the batch |

Letters: `B` sequences, `T` tokens; \(\ell = \log\pi_\theta - \log\pi_{old}\), \(\rho = e^\ell\).

Rules that hold for all of them. Log-probabilities are `[B]` (sums over a sequence, one token in a bandit) or `[B, T]`
with a mask of that shape, true where a token counts. What stands under the mask has no influence on value or
gradient, NaN and -inf included. A sequence with no token that counts, or of length zero, adds nothing and is not
counted: the mean is over the other sequences, and it is 0 where there are none. So padding a batch with tokens or with
sequences changes nothing. `weights` multiply the terms and do not enter the count. The mean is over this call's batch:
where a batch is split, take `reduction="sum"` and divide by the count of the whole batch. Everything is computed in the
dtype of `logp`, on its device, and nothing is detached. Only shapes, options and Python numbers are checked, never
the values in arrays, so that every loss runs under `jit`, `vmap` and `grad`.
"""

from pmdtheory.losses._dapo import dapo_loss as dapo_loss
from pmdtheory.losses._dr_grpo import dr_grpo_loss as dr_grpo_loss
from pmdtheory.losses._grpo import grpo_loss as grpo_loss
from pmdtheory.losses._gspo import gspo_loss as gspo_loss
from pmdtheory.losses._penalised import penalised_loss as penalised_loss
from pmdtheory.losses._pmd import pmd_loss as pmd_loss
from pmdtheory.losses._rloo import rloo_loss as rloo_loss

__all__ = ["dapo_loss", "dr_grpo_loss", "grpo_loss", "gspo_loss", "penalised_loss", "pmd_loss", "rloo_loss"]
