"""`classify` on torch tensors: the table, detached residuals, tensors made inside. Run by `make test-torch`."""

import numpy as np
import pytest
import torch

from pmdtheory.variants import VARIANTS, classify
from tests.variants.agreement import differences

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_row_is_recovered(variant):
    found = classify(variant.loss, library="torch")
    assert found.library == "torch"
    assert differences(found, variant.expected) == {}


@pytest.mark.parametrize("tau", [0.02, 0.3, 3.0])
def test_detached_residuals(tau):
    def loss(logp, old_logp, rewards, mask):
        s = torch.where(mask, logp - old_logp, 0.0).sum(-1)
        miss = rewards - rewards.mean(-1, keepdim=True) - tau * s
        return -(miss.detach() * s).mean()

    found = classify(loss)  # numpy arrays fail, torch is loaded
    assert found.library == "torch"
    assert differences(found, {"member": "PMD-mean", "tau": tau, "detached": True, "gradient_scale": 1.0}) == {}


def test_tensors_made_inside():
    """A loss that converts what it gets is followed through the conversion."""

    def loss(logp, old_logp, rewards, mask):
        logp, old_logp, rewards = (torch.as_tensor(array) for array in (logp, old_logp, rewards))
        s = ((logp - old_logp) * torch.as_tensor(mask)).sum(-1)
        return ((rewards - rewards.mean(-1, keepdim=True) - 0.3 * s) ** 2).mean()

    found = classify(loss)
    assert found.library == "torch"
    assert differences(found, {"member": "PMD-mean", "tau": 0.3, "detached": False}) == {}


def test_float32():
    def loss(logp, old_logp, rewards, mask):
        s = torch.where(mask, logp - old_logp, 0.0).sum(-1).float()
        return ((rewards - rewards.mean(-1, keepdim=True)).float() - 0.3 * s).square().mean()

    assert differences(classify(loss), {"member": "PMD-mean", "tau": 0.3}, rel=0.01) == {}


def test_a_loss_without_a_gradient():
    found = classify(lambda logp, old_logp, rewards, mask: torch.as_tensor(np.float64(0.0)))
    assert (found.form, found.in_family) == ("no gradient", False)
