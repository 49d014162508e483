r"""Which PMD is this? Public losses as members of one family, and a classifier for a loss of your own.

Objects called PMD, OPMD or Kimi differ in what they converge to: a square over the sequence or per token, divided by
length or not, with the mean or a partition of the group or of the others, or with no old log-probability at all.
`VARIANTS` holds them as short descriptions with their sources; `classify` takes any callable
`loss(logp[G,n,T], old_logp[G,n,T], rewards[G,n], mask[G,n,T]) -> scalar` and finds out from its gradients what it is.
`pmdtheory variants --file my_loss.py:fn` does the same from the command line.

Letters: `G` groups (prompts), `n` rollouts of a group, `T` tokens.

>>> from pmdtheory.variants import VARIANTS, classify
>>> kimi = next(variant for variant in VARIANTS if variant.name == "kimi")
>>> round(classify(kimi.loss).effective_tau, 6)  # its tau is 0.1, but the group's mean holds the rollout itself
0.133333
"""

from pmdtheory.variants._classification import Classification as Classification
from pmdtheory.variants._classification import Population as Population
from pmdtheory.variants._classify import classify as classify
from pmdtheory.variants._recipe import Recipe as Recipe
from pmdtheory.variants._table import VARIANTS as VARIANTS
from pmdtheory.variants._table import Variant as Variant
from pmdtheory.variants._user import load_loss as load_loss

__all__ = ["VARIANTS", "Classification", "Population", "Recipe", "Variant", "classify", "load_loss"]
