"""Losses written from formulas alone, without a line of the package: what `classify` has never seen.

Each is `loss(logp[G,n,T], old_logp[G,n,T], rewards[G,n], mask[G,n,T]) -> scalar` in plain numpy; s is the log-ratio of
a sequence, T its length. `EXPECTED` says what each formula implies for groups of 4.
"""

import math

import numpy as np


def tokens(logp, old_logp, mask):
    """Log-ratios of tokens, zero where none counts."""
    return np.where(mask, logp - old_logp, 0.0)


def sequences(logp, old_logp, mask):
    """Log-ratios of sequences."""
    return tokens(logp, old_logp, mask).sum(axis=2)


def mean(rewards):
    """Mean of each group."""
    return np.mean(rewards, axis=1, keepdims=True)


def others(rewards):
    """For every rollout the rewards of the others, [G, n, n - 1]."""
    n = rewards.shape[1]
    return np.stack([np.delete(rewards, i, axis=1) for i in range(n)], axis=1)


def kimi_027(logp, old_logp, rewards, mask):
    """(r - rbar - tau s)^2, tau = 0.27, summed over everything, in a loop."""
    total = 0.0
    for g in range(rewards.shape[0]):
        for i in range(rewards.shape[1]):
            s = sum(logp[g, i, t] - old_logp[g, i, t] for t in range(mask.shape[2]) if mask[g, i, t])
            total += (rewards[g, i] - sum(rewards[g]) / len(rewards[g]) - 0.27 * s) ** 2
    return total


def others_mean_0033(logp, old_logp, rewards, mask):
    """tau/2 ((r - mean of the others)/tau - s)^2, tau = 0.033, mean over groups of sums over rollouts."""
    goal = (rewards - others(rewards).mean(axis=2)) / 0.033
    return (0.033 / 2 * (goal - sequences(logp, old_logp, mask)) ** 2).sum(axis=1).mean()


def square_root_length(logp, old_logp, rewards, mask):
    """(A/tau - s)^2/sqrt(T), group mean, tau = 1.7."""
    return np.mean(((rewards - mean(rewards)) / 1.7 - sequences(logp, old_logp, mask)) ** 2 / np.sqrt(mask.sum(axis=2)))


def averaged_log_ratio(logp, old_logp, rewards, mask):
    """(A/tau - s/T)^2: the log-ratio is a mean over tokens; the others' mean, tau = 0.4."""
    goal = (rewards - others(rewards).mean(axis=2)) / 0.4
    return np.mean((goal - sequences(logp, old_logp, mask) / mask.sum(axis=2)) ** 2)


def padded_length(logp, old_logp, rewards, mask):
    """(A/tau - s)^2 over the padded length; tau = 0.12."""
    return np.mean(((rewards - mean(rewards)) / 0.12 - sequences(logp, old_logp, mask)) ** 2) / mask.shape[2]


def two_temperatures(logp, old_logp, rewards, mask):
    """Square at tau = 0.15 of r less the others' 0.6 log mean exp(r/0.6)."""
    baseline = 0.6 * np.log(np.mean(np.exp(others(rewards) / 0.6), axis=2))
    return np.mean((rewards - baseline - 0.15 * sequences(logp, old_logp, mask)) ** 2)


def own_partition(logp, old_logp, rewards, mask):
    """The partition of the whole group, tau = 0.22."""
    baseline = np.log(np.mean(np.exp(rewards / 0.22), axis=1, keepdims=True))
    return np.mean((rewards / 0.22 - baseline - sequences(logp, old_logp, mask)) ** 2)


def clamped(logp, old_logp, rewards, mask):
    """The others' partition at tau = 0.02 from the sum less the own term, relative to the best, at least 1e-6."""
    best = rewards.max(axis=1, keepdims=True)
    parts = np.exp((rewards - best) / 0.02)
    rest = np.maximum((parts.sum(axis=1, keepdims=True) - parts) / (rewards.shape[1] - 1), 1e-6)
    return np.mean((rewards - best - 0.02 * np.log(rest) - 0.02 * sequences(logp, old_logp, mask)) ** 2)


def fixed_baseline(logp, old_logp, rewards, mask):
    """r/tau - 0.8 nats, tau = 0.5."""
    return np.mean((rewards / 0.5 - 0.8 - sequences(logp, old_logp, mask)) ** 2)


def token_squares(logp, old_logp, rewards, mask):
    """-A log pi + 0.35 (log-ratio)^2 for each token, mean over a sequence's tokens: tau = 0.7."""
    plain = -(rewards - mean(rewards))[..., None] * np.where(mask, logp, 0.0)
    return np.mean((plain + 0.35 * tokens(logp, old_logp, mask) ** 2).sum(axis=2) / mask.sum(axis=2))


def no_anchor(logp, old_logp, rewards, mask):
    """-0.37 A log pi: old_logp does not enter."""
    return -0.37 * np.mean((rewards - mean(rewards)) * np.where(mask, logp, 0.0).sum(axis=2))


def square_of_log_pi(logp, old_logp, rewards, mask):
    """(A/tau - log pi)^2: the old log-probability was forgotten."""
    return np.mean(((rewards - mean(rewards)) / 0.3 - np.where(mask, logp, 0.0).sum(axis=2)) ** 2)


def standardised(logp, old_logp, rewards, mask):
    """Rewards over the group's standard deviation, tau = 0.8."""
    goal = (rewards - mean(rewards)) / (rewards.std(axis=1, keepdims=True) + 1e-4)
    return np.mean((goal - 0.8 * sequences(logp, old_logp, mask)) ** 2)


def weighted(logp, old_logp, rewards, mask):
    """Weights exp(r/0.45) of mean one in each group; the others' mean, tau = 0.3."""
    weight = np.exp(rewards / 0.45) / mean(np.exp(rewards / 0.45))
    goal = (rewards - others(rewards).mean(axis=2)) / 0.3
    return np.mean(weight * (goal - sequences(logp, old_logp, mask)) ** 2)


def explicit_chi2(logp, old_logp, rewards, mask):
    """-rho A + tau KL + tau c/2 chi2, by samples: tau = 0.4, c = 1.3, the others' mean."""
    rho = np.exp(sequences(logp, old_logp, mask))
    gain = rho * (rewards - others(rewards).mean(axis=2))
    return np.mean(-gain + 0.4 * (rho * np.log(rho) - rho) + 0.26 * (rho - 1) ** 2)


def differences(logp, old_logp, rewards, mask):
    """Squares of differences of r/tau - s within each group, tau = 0.6."""
    e = rewards / 0.6 - sequences(logp, old_logp, mask)
    return np.mean((e[:, :, None] - e[:, None, :]) ** 2)


def growing_tau(logp, old_logp, rewards, mask):
    """(r - rbar - tau sqrt(n) s)^2: the temperature grows with the group; 0.2 for groups of 4."""
    return np.mean((rewards - mean(rewards) - 0.1 * math.sqrt(rewards.shape[1]) * sequences(logp, old_logp, mask)) ** 2)


def drops_equal(logp, old_logp, rewards, mask):
    """Groups of equal rewards are left out, and not counted."""
    live = np.ptp(rewards, axis=1) > 0.0
    terms = (rewards - mean(rewards) - 0.3 * sequences(logp, old_logp, mask)) ** 2
    return terms[live].sum() / (max(live.sum(), 1) * rewards.shape[1])


def ppo(logp, old_logp, rewards, mask):
    """Ratio of a sequence, clipped to [0.9, 1.15]."""
    rho, a = np.exp(sequences(logp, old_logp, mask)), rewards - mean(rewards)
    return -np.mean(np.minimum(rho * a, np.clip(rho, 0.9, 1.15) * a))


def importance(logp, old_logp, rewards, mask):
    """-rho A without any penalty."""
    return -np.mean(np.exp(sequences(logp, old_logp, mask)) * (rewards - mean(rewards)))


def k3(logp, old_logp, rewards, mask):
    """-A log pi beside 0.1 times the estimate e^-s - 1 + s of a KL, for each token."""
    step = tokens(logp, old_logp, mask)
    plain = (rewards - mean(rewards))[..., None] * np.where(mask, logp, 0.0)
    return np.mean((-plain + 0.1 * (np.exp(-step) - 1 + step)).sum(axis=2))


def wrong_sign(logp, old_logp, rewards, mask):
    """(A/tau + s)^2."""
    return np.mean(((rewards - mean(rewards)) / 0.2 + sequences(logp, old_logp, mask)) ** 2)


def batch_standardised(logp, old_logp, rewards, mask):
    """Rewards standardised over the whole batch: one prompt changes the step of another."""
    a = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
    return np.mean((a - 0.5 * sequences(logp, old_logp, mask)) ** 2)


def forgets_the_mask(logp, old_logp, rewards, mask):
    """Padding enters the sum."""
    return np.mean((rewards - mean(rewards) - 0.3 * (logp - old_logp).sum(axis=2)) ** 2)


def cubic(logp, old_logp, rewards, mask):
    """A fourth power of the residual."""
    return np.mean(((rewards - mean(rewards)) / 0.5 - sequences(logp, old_logp, mask)) ** 4)


def ranks(logp, old_logp, rewards, mask):
    """The rank within the group in place of the reward."""
    rank = np.argsort(np.argsort(rewards, axis=1), axis=1)
    return np.mean((rank - mean(rank) - 0.4 * sequences(logp, old_logp, mask)) ** 2)


def one_sided(logp, old_logp, rewards, mask):
    """Ratios of tokens clipped above 1.3 only."""
    rho, a = np.exp(tokens(logp, old_logp, mask)), (rewards - mean(rewards))[..., None]
    return -np.mean(np.where(mask, np.minimum(rho * a, np.minimum(rho, 1.3) * a), 0.0).sum(axis=2))


def of_group_means(logp, old_logp, rewards, mask):
    """A policy gradient beside the square of the mean log-ratio of a group: coupled, and not by differences."""
    s = sequences(logp, old_logp, mask)
    return np.mean(-(rewards - mean(rewards)) * s + 0.3 * mean(s) ** 2)


def odd_weights(logp, old_logp, rewards, mask):
    """Weights 1 + r^2."""
    return np.mean((1 + rewards**2) * (rewards - mean(rewards) - 0.3 * sequences(logp, old_logp, mask)) ** 2)


def weighted_by_probability(logp, old_logp, rewards, mask):
    """Weights by the old probability of the first token: not a function of the difference alone."""
    weight = np.exp(old_logp[:, :, 0])
    return np.mean(weight * (rewards - mean(rewards) - 0.3 * sequences(logp, old_logp, mask)) ** 2)


def misleading(logp, old_logp, rewards, mask):
    """Kimi's square for batches of a few groups, something else for many: only the populations can tell."""
    tau = 0.3 if rewards.shape[0] < 10 else 0.6
    return np.mean((rewards - mean(rewards) - tau * sequences(logp, old_logp, mask)) ** 2)


MEAN, OTHERS = "mean of the group", "mean of the others"
NONE = "none of the family"
SQUARE = {"form": "regression", "level": "sequence", "uses_old_logp": True}

EXPECTED = {
    "kimi_027": SQUARE
    | {"member": "PMD-mean", "baseline": MEAN, "tau": 0.27, "effective_tau": 0.36, "reduction": "sum"},
    "others_mean_0033": SQUARE
    | {"member": "PMD-mean", "baseline": OTHERS, "tau": 0.033, "reduction": "mean over groups, sum within"},
    "square_root_length": SQUARE | {"member": "PMD-mean", "tau": 1.7, "length_rule": "length^0.5"},
    "averaged_log_ratio": SQUARE
    | {"member": "PMD-mean", "tau": 0.4, "length_rule": "own length", "log_ratio_exponent": 1.0},
    "padded_length": SQUARE | {"member": "PMD-mean", "tau": 0.12, "length_rule": "padded length"},
    "two_temperatures": SQUARE
    | {"member": "PMD-part", "baseline": "partition of the others", "tau": 0.15, "baseline_tau": 0.6},
    "own_partition": SQUARE
    | {"member": "PMD-part", "baseline": "partition of the group", "tau": 0.22, "baseline_tau": 0.22},
    "clamped": SQUARE
    | {"member": "PMD-part", "baseline": "clamped partition of the others", "tau": 0.02, "floor": 1e-6},
    "fixed_baseline": SQUARE
    | {"member": "PMD(b)", "baseline": "constant", "tau": 0.5, "effective_tau": 0.5, "baseline_value": 0.8},
    "token_squares": {"member": "per-token PMD-mean", "level": "token", "tau": 0.7, "length_rule": "own length"},
    "no_anchor": {"member": NONE, "form": "policy gradient", "uses_old_logp": False, "gradient_scale": 0.37},
    "square_of_log_pi": {"member": NONE, "form": "regression", "uses_old_logp": False},
    "standardised": SQUARE | {"member": "standardised PMD", "baseline": "standardised", "epsilon": 1e-4},
    "weighted": SQUARE
    | {"member": "weighted PMD-mean", "tau": 0.3, "weights": "exponential", "weight_tau": 0.45, "baseline": OTHERS},
    "explicit_chi2": {"member": "KL-chi2 step", "form": "penalised", "tau": 0.4, "chi2_weight": 1.3},
    "differences": {"member": "pairwise PMD", "form": "pairwise", "tau": 0.6},
    "growing_tau": SQUARE | {"member": "PMD-mean", "tau": 0.2, "tau_power": 0.5, "baseline": MEAN},
    "drops_equal": SQUARE | {"member": "PMD-mean", "tau": 0.3, "dropped": "equal rewards"},
    "ppo": {"member": NONE, "form": "clipped", "clip": (0.9, 1.15), "level": "sequence"},
    "importance": {"member": NONE, "form": "importance-weighted"},
    "k3": {"member": NONE, "form": "mixed", "level": "token"},
    "wrong_sign": {"member": NONE},
    "batch_standardised": {"member": NONE},
    "forgets_the_mask": {"member": "PMD-mean", "tau": 0.3},
    "cubic": {"member": NONE, "form": "other"},
    "one_sided": {"member": NONE, "form": "clipped", "level": "token"},
    "of_group_means": {"member": NONE, "form": "coupled"},
    "odd_weights": {"member": NONE, "form": "regression", "weights": "unknown", "tau": 0.3},
    "weighted_by_probability": {"member": NONE, "form": "regression"},
    "misleading": {"member": NONE, "form": "regression", "tau": 0.3},
    "ranks": {"member": NONE, "form": "regression", "baseline": "unknown"},
}
