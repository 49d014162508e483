"""Every number that the results page quotes in prose, next to how it is computed from what is stored.

A `Quote` is a piece of a page with `{3}` where a number of three digits behind the point stands, and a function that
gives these numbers; `holds` is what the words around them claim. `python -m tests.rl.quoted` prints what a page says
next to what it should say, and with `--write` puts the numbers right; words are left to the author. `SETTINGS` are
pieces whose numbers are inputs, not results.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tiny_llm_rl.figures.lm_drift import FIGURE
from tiny_llm_rl.presets import preset
from tiny_llm_rl.verdicts import crossing, mean_interval

ROOT = Path(__file__).parents[2]
RESULTS, TRAINING = "docs/results.md", "docs/training.md"
NUMBER = r"−?(?:\d+\.?\d*|\.\d+)"


@dataclass(frozen=True)
class Quote:
    """A piece of a page and its numbers; what `holds` of them is what the words say."""

    text: str
    numbers: Callable[[], Sequence[float]]
    holds: Callable[..., bool] = lambda *numbers: True
    page: str = RESULTS

    @property
    def digits(self):
        """Of each number, behind the point."""
        return [int(found) for found in re.findall(r"\{(\d)\}", self.text)]

    @property
    def pattern(self):
        """The piece as it may stand on the page, lines broken anywhere, a group for each number."""
        parts = re.split(r"\{\d\}", self.text)
        return re.compile(f"({NUMBER})".join(r"\s+".join(map(re.escape, part.split(" "))) for part in parts))

    @property
    def expected(self):
        """The numbers as the page has to say them."""
        return [shown(value, digits) for value, digits in zip(self.numbers(), self.digits, strict=True)]


def shown(value, digits):
    """As the page writes numbers.

    >>> shown(-0.0444, 3), shown(2.84, 1), shown(-0.0001, 3), shown(11.4, 0)
    ('−.044', '2.8', '.000', '11')
    """
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if digits and text.startswith("0") else text)


# -- what is stored ---------------------------------------------------------------------------------------------------


@cache
def stored(figure):
    """Arrays and names of the arms of a figure's data."""
    found = json.loads((ROOT / "figures/data" / f"{figure}.json").read_text(encoding="utf-8"))
    arrays, config = {name: np.array(value, float) for name, value in found["arrays"].items()}, found["config"]
    if "rows" in config:
        words = [setting if isinstance(setting, str) else f"{setting:g}" for setting in config["settings"]]
        return arrays, [f"{row}-{word}" for word in words for row in config["rows"]]
    return arrays, config.get("arms") or [arm.name for arm in preset(config["preset"]).arms]


def runs(figure, arm, array="accuracy"):
    """`[seeds]` or `[seeds, batches]` of an arm."""
    arrays, names = stored(figure)
    return arrays[array][names.index(arm)]


def mean(figure, arm, array="accuracy"):
    return float(np.nanmean(runs(figure, arm, array)))


def base(figure):
    return float(stored(figure)[0]["base"][0])


def gap(figure, arm, other, share=1.0, seeds=slice(None)):
    """Ends of the 95 % interval of an arm minus (a share of) another, seed by seed."""
    return mean_interval((runs(figure, arm) - share * runs(figure, other))[seeds])[1:]


def broken_at(arm):
    """The learning rate at which the mean accuracy of an arm of lm_drift falls to the base's."""
    rates = FIGURE.config["settings"]
    return crossing(rates, np.array([mean("lm_drift", f"{arm}-{rate:g}") for rate in rates]), base("lm_drift"))


def halves(figure, arm, other):
    """`gap` of the first half of the seeds, and of the second."""
    half = runs(figure, arm).size // 2
    return (*gap(figure, arm, other, seeds=slice(half)), *gap(figure, arm, other, seeds=slice(half, None)))


def from_base(figure, arm, times=1.0):
    """Ends of the interval of an arm minus so many times the base."""
    return mean_interval(runs(figure, arm) - times * base(figure))[1:]


def below(ends):
    """How far below, from the smaller to the larger end."""
    return -ends[1], -ends[0]


def tuned(algorithm, rate):
    """Score of the best setting of an algorithm's dial at a learning rate, 14 tokens."""
    found = json.loads((ROOT / "figures/data/lm_tuning.json").read_text(encoding="utf-8"))
    scores = dict(zip(found["config"]["cpu-tune"], found["arrays"]["cpu_tune"], strict=True))
    return max(
        value for name, value in scores.items() if name.startswith(f"{algorithm}-") and name.endswith(f"-{rate}")
    )


def rate(name, algorithm):
    """Learning rate of an arm of a preset."""
    return next(arm.config.learning_rate for arm in preset(name).arms if arm.name == algorithm)


def jensen(pass_rate, tau):
    """log Z - mean / tau of a binary reward, nats (C7)."""
    return np.log1p(pass_rate * np.expm1(1 / tau)) - pass_rate / tau


def moved():
    """Pass rates before `[R]`, and changes of the log-odds `[2, R, S]` of PMD-mean and PMD-part (lm_conservatism)."""
    arrays = json.loads((ROOT / "figures/data/lm_conservatism.json").read_text(encoding="utf-8"))["arrays"]
    before, after = np.array(arrays["before"]), np.array(arrays["after"])
    change = np.log(after / (1 - after)) - np.log(before / (1 - before))
    exact = np.interp(before[0].mean(-1), arrays["grid"], arrays["exact_change"])
    return before[0].mean(-1), change, exact


def conservative():
    rates, change, exact = moved()
    return (
        change[0, :-1].min(), change[0, :-1].max(), rates[0], rates[-2], change[0, -1].min(), change[0, -1].max(),
        rates[-1], exact.min(), exact.max(), -change[1].max(), -change[1].min(),
    )  # fmt: skip


def cost(arm):
    """CPU milliseconds a rollout of lm_time."""
    return 1e3 * float(np.nansum(runs("lm_time", arm, "cpu_seconds"), -1).mean()) / (128 * 128)


@cache
def trl():
    return json.loads((ROOT / "tests/benchmarks/results/trl.json").read_text(encoding="utf-8"))["cases"]


def parts(case):
    """Shares of TRL's phases: generation, and loss with backward pass."""
    phases = case["trl"]["phases"]
    total = sum(phases.values())
    return phases["generation"] / total, (phases["backward"] + phases["loss: log-probabilities"]) / total


def stale(arm):
    return [mean("lm_stability", f"{arm}-{updates}") for updates in (1, 8, 64)]


def lost(arm):
    """Of an arm's accuracy, per cent, when whole groups are dealt instead of single responses."""
    return 100 * (1 - mean("lm_shuffle", f"{arm}-groups") / mean("lm_shuffle", f"{arm}-responses"))


def shuffled():
    gaps = [mean("lm_shuffle", f"{arm}-responses") - mean("lm_shuffle", f"{arm}-groups") for arm in ("mean", "grpo")]
    return min(gaps), max(gaps)


def ablated():
    """Interval and mean of what dividing by the deviation adds, loss by loss."""
    pairs = [("mean-std", "mean"), ("grpo-std", "grpo"), ("gspo-std", "gspo")]
    ends = [end for pair in pairs for end in gap("lm_ablation", *pair)]
    return (*ends, *(mean("lm_ablation", one) - mean("lm_ablation", other) for one, other in pairs))


def positive(*numbers):
    return min(numbers) > 0


def around_zero(low, high):
    return low < 0 < high


def both_halves(low, high, *others):
    return low > 0 and all(value > 0 for value in others)


QUOTES = (
    # In minutes, untuned
    Quote(
        "PMD-mean is above twice its base (difference {3} to {3})", lambda: from_base("lm_quick", "mean", 2.0), positive
    ),
    Quote(
        "PMD-part below its base ({3} to {3})", lambda: from_base("lm_quick", "part"), lambda low, high: high <= 0
    ),
    Quote(
        "and below .6 of PMD-mean ({3} to {3}), the regression",
        lambda: gap("lm_quick", "part", "mean", 0.6), lambda low, high: high < 0,
    ),
    Quote(
        "without a regulariser below .6 of PMD-mean ({3} to {3};",
        lambda: gap("lm_quick", "none", "mean", 0.6), lambda low, high: high < 0,
    ),
    Quote("GRPO above PMD-mean ({3} to {3})", lambda: gap("lm_quick", "grpo", "mean"), positive),
    # What a minibatch is dealt
    Quote(
        "whole groups cost {0} % of PMD-mean's accuracy and {0} % of GRPO's",
        lambda: (lost("mean"), lost("grpo")),
        lambda *_: max(gap("lm_shuffle", f"{arm}-groups", f"{arm}-responses")[1] for arm in ("mean", "grpo")) < 0,
    ),
    Quote("accuracy fell by {2} to {2} in ten seeds", shuffled, positive, TRAINING),
    # Ablation
    Quote(
        "moves PMD-mean by {3} to {3}, GRPO by {3} to {3} and GSPO by {3} to {3} (means {3}, {3}, {3}), and GRPO leads "
        "without it as well",
        ablated,
        lambda *found: all(around_zero(*found[k : k + 2]) for k in (0, 2, 4))
        and gap("lm_ablation", "grpo", "mean")[0] > 0,
    ),
    # Claims: stable on stale rollouts
    Quote("16 updates a batch, {1} times its base;", lambda: (mean("lm_curves", "mean") / base("lm_curves"),)),
    Quote(
        "from 1 to 64 updates on each batch its accuracy changes by {3} to {3} ({3}, {3}, {3}),",
        lambda: (*gap("lm_stability", "mean-64", "mean-1"), *stale("mean")),
    ),
    Quote("GRPO's by {3} to {3} and", lambda: gap("lm_stability", "grpo-64", "grpo-1")),
    Quote("and GSPO's by {3} to {3}, while", lambda: gap("lm_stability", "gspo-64", "gspo-1")),
    Quote(
        "without a regulariser it falls from {2} to {2} and PMD-part's from {2} to {2} |",
        lambda: (*stale("none")[::2], *stale("part")[::2]),
        lambda *_: max(gap("lm_stability", f"{arm}-64", f"{arm}-1")[1] for arm in ("none", "part")) < 0,
    ),
    # PMD-part
    Quote(
        "at τ = .1 it ends at {2} of its base with 14 tokens (below .6 of PMD-mean: the interval of the difference is "
        "{3} to {3})",
        lambda: (mean("lm_curves", "part") / base("lm_curves"), *gap("lm_curves", "part", "mean", 0.6)),
        lambda share, low, high: share < 1 and high < 0,
    ),
    Quote(
        "entropy and length are above PMD-mean's there ({2} against {2} nats a token, {1} against {1} tokens)",
        lambda: [mean("lm_curves", arm, what) for what in ("eval_entropy", "eval_length") for arm in ("part", "mean")],
        lambda a, b, c, d: a > b and c > d,
    ),
    Quote(
        "With 73 tokens it ends above its base ({2} times, the interval of the difference is {3} to {3}), at {2} of "
        "PMD-mean's accuracy, with responses as long as PMD-mean's ({1} tokens both)",
        lambda: (
            mean("lm_long", "part") / base("lm_long"), *from_base("lm_long", "part"),
            mean("lm_long", "part") / mean("lm_long", "mean"), mean("lm_long", "part", "eval_length"),
        ),
        lambda times, low, high, share, length: low > 0
        and abs(length - mean("lm_long", "mean", "eval_length")) < 0.1,
    ),
    Quote(
        "Tuned, it reaches {3} with 14 tokens, behind PMD-mean by {3} to {3} (C12, C16); with 73 it is at {3} against "
        "{3}, the difference {3} to {3}",
        lambda: (
            mean("lm_curves", "part-tuned"), *below(gap("lm_curves", "part-tuned", "mean")),
            mean("lm_long", "part-tuned"), mean("lm_long", "mean"), *gap("lm_long", "part-tuned", "mean"),
        ),
        lambda tuned, low, *_: low > 0,
    ),  # fmt: skip
    # More rollouts
    Quote(
        "is less with 16 and 64 a prompt than with 4 ({3}, {3} and {3}), PMD-mean's does not change ({3}, {3}, {3})",
        lambda: [
            mean("lm_partition_failure", arm)
            for arm in ("part-16", "part-64", "part-4", "mean-4", "mean-16", "mean-64")
        ],
        lambda *_: max(
            gap("lm_partition_failure", "part-16", "part-4")[1], gap("lm_partition_failure", "part-64", "part-4")[1]
        ) < 0 and around_zero(*gap("lm_partition_failure", "mean-64", "mean-4")),
    ),  # fmt: skip
    Quote("{1} nats at a pass rate of .14", lambda: (jensen(0.14, 0.1),)),
    # The regulariser
    Quote(
        "with one update a batch it needs none ({3}); with 8 and 64 it falls to {3} and {3} (staleness table)",
        lambda: stale("none"),
    ),
    Quote(
        "at the best of eight learning rates, {0} times smaller than PMD-mean's, it reaches {3}, which is {2} of "
        "PMD-mean (the interval of the difference to .6 of PMD-mean is {3} to {3}), at {2} of its KL a batch",
        lambda: (
            rate("cpu-full", "mean") / rate("cpu-full", "none"), mean("lm_curves", "none"),
            mean("lm_curves", "none") / mean("lm_curves", "mean"), *gap("lm_curves", "none", "mean", 0.6),
            mean("lm_curves", "none", "kl_old_new") / mean("lm_curves", "mean", "kl_old_new"),
        ),
        lambda rates, reached, share, low, high, kl: high < 0,
    ),  # fmt: skip
    # The penalty
    Quote(
        "tuned with the same budget ends {3} to {3} below PMD-mean",
        lambda: below(gap("lm_curves", "penalty", "mean")), positive,
    ),
    Quote(
        "(lm_tuning: {2} against {2} at 4e-4)", lambda: (tuned("penalty", "0.0004"), tuned("mean", "0.0004")),
        lambda penalty, mean: penalty < mean,
    ),
    # GRPO and GSPO
    Quote(
        "at equal tuning GSPO is {3} to {3} above PMD-mean with 14 tokens ({3} to {3} in the first half of the seeds, "
        "{3} to {3} in the second)",
        lambda: (*gap("lm_curves", "gspo", "mean"), *halves("lm_curves", "gspo", "mean")), both_halves,
    ),
    Quote(
        "and {3} to {3} with 73 ({3} to {3}, {3} to {3})",
        lambda: (*gap("lm_long", "gspo", "mean"), *halves("lm_long", "gspo", "mean")), both_halves,
    ),
    Quote(
        "GRPO's difference to it is {3} to {3} with 14 tokens and {3} to {3} with 73, where its seeds end further "
        "apart (deviation {2}; PMD-mean's {2}, GSPO's {2})",
        lambda: (
            *gap("lm_curves", "grpo", "mean"), *gap("lm_long", "grpo", "mean"),
            *(float(runs("lm_long", arm).std(ddof=1)) for arm in ("grpo", "mean", "gspo")),
        ),
        lambda a, b, c, d, grpo, mean, gspo: around_zero(a, b) and around_zero(c, d) and grpo > mean > gspo,
    ),  # fmt: skip
    Quote(
        "GSPO is above GRPO by {3} to {3} with 14 tokens and by {3} to {3} with 73",
        lambda: (*gap("lm_curves", "gspo", "grpo"), *gap("lm_long", "gspo", "grpo")),
        lambda a, b, c, d: min(a, c) > 0,
    ),
    Quote(
        "at 2e-4 for all GRPO is {3} to {3} above PMD-mean (lm_ablation, its standardised form)",
        lambda: gap("lm_ablation", "grpo-std", "mean"), positive,
    ),
    Quote(
        "first steps are smaller with 73 tokens (KL {2} against {1} of GRPO and {1} of GSPO), its later ones larger",
        lambda: [runs("lm_long", arm, "kl_old_new")[:, 0].mean() for arm in ("mean", "grpo", "gspo")],
        lambda mean, grpo, gspo: mean < min(grpo, gspo)
        and runs("lm_long", "mean", "kl_old_new")[:, 4:].mean()
        > max(runs("lm_long", arm, "kl_old_new")[:, 4:].mean() for arm in ("grpo", "gspo")),
    ),
    # Conservative steps
    Quote(
        "moves the log-odds of a right answer by {1} to {1} nats at pass rates from {2} to {2} and by {2} to {2} at "
        "{2}, where the exact steps are {1} to {0} (PMD-mean) and 10 (KL-PMD); PMD-part's lowers them by {1} to {1}",
        conservative,
        lambda *found: found[1] < found[7] and found[9] > 0,
    ),
    # Very stale rollouts
    Quote(
        "with 64 updates on each batch, at one learning rate for all, it is above GRPO by {3} to {3} ({3} to {3} in "
        "the first half of the seeds, {3} to {3} in the second)",
        lambda: (*gap("lm_stability", "mean-64", "grpo-64"), *halves("lm_stability", "mean-64", "grpo-64")),
        lambda low, *_: low > 0,
    ),
    Quote(
        "over GSPO the interval is {3} to {3}", lambda: gap("lm_stability", "mean-64", "gspo-64"), around_zero,
    ),
    Quote(
        "With 8 updates GRPO is {3} to {3} above it; GSPO's difference is {3} to {3}",
        lambda: (*gap("lm_stability", "grpo-8", "mean-8"), *gap("lm_stability", "gspo-8", "mean-8")),
        lambda a, b, c, d: a > 0 and around_zero(c, d),
    ),
    Quote(
        "its KL a batch is {2} and its largest log-ratio {0} nats, GSPO's {1} and {0}, GRPO's {0} and {0}",
        lambda: [
            mean("lm_drift", f"{arm}-0.0032", array)
            for arm in ("mean", "gspo", "grpo") for array in ("kl_old_new", "largest_log_ratio")
        ],
        lambda *found: found[0] < found[2] < found[4] and found[1] < found[3] < found[5],
    ),  # fmt: skip
    Quote(
        "it falls to the base at a learning rate of {4}, like GRPO's, at {4} with τ = .3, and GSPO's at {4}; without a "
        "regulariser at {5}",
        lambda: [broken_at(arm) for arm in ("mean", "mean3", "gspo", "none")],
        lambda mean, mean3, gspo, none: none < mean3 < mean < gspo and abs(mean - broken_at("grpo")) < 1e-4,
    ),
    # Wall time
    Quote(
        "PMD-mean takes {2} ms of CPU time a rollout in batches of 128, {2} in batches of 1,024 and {2} in batches of "
        "8,192 rollouts, and ends at {3}, {3} and {3}",
        lambda: (*[cost(f"mean-{updates}") for updates in (1, 8, 64)], *stale("mean")),
        lambda *found: found[0] > found[1] > found[2],
    ),
    # Speed
    Quote(
        "the default, which measures after every batch how far the policy went, does a default batch {1} times as fast "
        "as TRL, and {1} times without that measurement",
        lambda: [trl()[0]["cpu_ratio"][f"responses, {how}"] for how in ("measured", "not measured")],
    ),
    Quote(
        "TRL's largest part is the loss with its backward pass, {0} to {0} % of its time; generation follows with {0} "
        "to {0} %",
        lambda: [
            100 * end([parts(case)[part] for case in trl()]) for part in (1, 0) for end in (min, max)
        ],
        lambda *_: all(loss > generation for generation, loss in map(parts, trl())),
    ),
    Quote(
        "The load average of the two cores was {1} to {1} while it was measured",
        lambda: [end([case["load_average"] for case in trl()]) for end in (min, max)],
    ),
)  # fmt: skip

# Pieces of the results page whose numbers are settings, sizes of models, or shares in the statement of a claim.
SETTINGS = (
    "τ = .1",
    "below .6 of PMD-mean",
    "the difference to .6 of PMD-mean",
    "learning rate 2e-4",
    "at 2e-4 for all",
    "(2e-4)",
    "at 4e-4",
    "sampled pass rate of .75, then careless ones down to .14",
    "at a pass rate of .14",
    "3.35 TB/s",
)
# Tables that other tests hold to what is stored.
HELD_ELSEWHERE = ("## What an H100's compiler makes", "## Speed, side by side")
_DECIMAL = re.compile(r"(?<![\w.])−?\d*\.\d+|(?<![\w.])\d+e-\d+")


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def wrong(page, text):
    """What a page says that is not so: (fragment, says, should say) for each quote that differs or is missing."""
    found = []
    for quote in QUOTES:
        if quote.page != page:
            continue
        matches = list(quote.pattern.finditer(text))
        if len(matches) != 1:
            found.append((quote.text, f"stands {len(matches)} times", quote.expected))
            continue
        said = list(matches[0].groups())
        if said != quote.expected:
            found.append((quote.text, said, quote.expected))
        if not quote.holds(*quote.numbers()):
            found.append((quote.text, "the words no longer hold", quote.expected))
    return found


def written(page, text):
    """The text with the numbers of its quotes put right."""
    for quote in QUOTES:
        match = quote.pattern.search(text) if quote.page == page else None
        if match is not None:
            for group, value in reversed(list(enumerate(quote.expected, 1))):
                text = text[: match.start(group)] + value + text[match.end(group) :]
    return text


def uncovered(text):
    """Decimal numbers of the results page's prose that no quote and no setting covers, with their surroundings."""
    for mark in re.findall(r"<!-- table .*?<!-- end -->", text, re.S):
        text = text.replace(mark, " " * len(mark))
    for heading in HELD_ELSEWHERE:
        start = text.index(heading)
        end = text.find("\n## ", start)
        section = text[start : end if end > 0 else len(text)]
        text = text.replace(section, re.sub(r"^\|.*$", lambda row: " " * len(row[0]), section, flags=re.M))
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", lambda code: " " * len(code[0]), text)
    spans = [match.span() for quote in QUOTES for match in quote.pattern.finditer(text)]
    for piece in SETTINGS:
        spans += [match.span() for match in re.finditer(r"\s+".join(map(re.escape, piece.split(" "))), text)]
    return [
        " ".join(text[max(0, number.start() - 40) : number.end() + 20].split())
        for number in _DECIMAL.finditer(text)
        if not any(low <= number.start() and number.end() <= high for low, high in spans)
    ]


def main(arguments):
    for page in (RESULTS, TRAINING):
        text = text_of(page)
        if "--write" in arguments:
            (ROOT / page).write_text(written(page, text), encoding="utf-8")
            text = text_of(page)
        for fragment, said, due in wrong(page, text):
            sys.stdout.write(f"{page}: {fragment}\n  says {said}\n  due  {due}\n")
    for number in uncovered(text_of(RESULTS)):
        sys.stdout.write(f"{RESULTS}: no quote covers ... {number} ...\n")


if __name__ == "__main__":
    main(sys.argv[1:])
