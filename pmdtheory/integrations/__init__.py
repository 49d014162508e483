"""PMD-mean and PMD-part inside the frameworks that people train with.

| module | framework | what it offers |
|---|---|---|
| `pmdtheory.integrations.trl` | TRL (torch) | `PMDTrainer`, `PMDConfig` in place of `GRPOTrainer`, `GRPOConfig` |
| `pmdtheory.integrations.tunix` | Tunix (jax) | `register`: policy losses and advantage estimators by name |

Neither framework is imported here; each module needs its own. Both compute `pmdtheory.losses.pmd_loss` on the targets
of `targets`, and both refuse to run without the log-probabilities of the policy that sampled: a framework that leaves
them out puts the current ones in their place, and the regression becomes a plain policy gradient without a word.
"""

from pmdtheory.integrations._members import MEMBERS as MEMBERS
from pmdtheory.integrations._members import targets as targets

__all__ = ["MEMBERS", "targets"]
