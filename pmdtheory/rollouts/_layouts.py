"""Which column of a file is what: the layouts of public trainers, common names, and the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["LAYOUTS", "ROLES", "Layout", "find_layout", "parse_columns"]

ROLES: Final = ("prompt", "reward", "step", "old_log_prob", "new_log_prob", "length")
LAYOUTS: Final = {
    "verl": "JSONL of trainer.rollout_data_dir, one file per step: input, output, gts, score, step (OpenKimi's too)",
    "trl": "Parquet of log_completions: step, prompt, completion, one column per reward function, advantage",
    "columns": "any table with a prompt and a reward column",
}
_ALIASES: Final = {
    "prompt": ("prompt_id", "prompt", "uid", "group", "group_id", "problem_id", "question", "problem", "input"),
    "reward": ("reward", "rewards", "score", "return", "correct", "acc"),
    "step": ("step", "global_step", "global_steps", "iteration", "training_step"),
    "old_log_prob": (
        "old_log_prob",
        "old_log_probs",
        "old_logprob",
        "old_logprobs",
        "old_logp",
        "old_logps",
        "logp_old",
        "log_prob_old",
        "rollout_log_probs",
        "sampling_logprobs",
    ),
    "new_log_prob": (
        "new_log_prob",
        "new_log_probs",
        "new_logprob",
        "new_logprobs",
        "new_logp",
        "new_logps",
        "logp_new",
        "log_prob_new",
    ),
    "length": ("length", "response_length", "response_lengths", "completion_length", "num_tokens", "response_len"),
}
_SPEECH: Final = "--columns prompt=COLUMN,reward=COLUMN"


@dataclass(frozen=True)
class Layout:
    """Columns by role; a reward may be the sum of several.

    Attributes:
        name: one of `LAYOUTS`.
        prompt: its column.
        reward: one column, or several that are added.
        step, old_log_prob, new_log_prob, length: column, or None.
    """

    name: str
    prompt: str
    reward: tuple[str, ...]
    step: str | None = None
    old_log_prob: str | None = None
    new_log_prob: str | None = None
    length: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Role to column, for those that there are; several columns of a reward are joined by +."""
        found = {role: getattr(self, role) for role in ROLES if role != "reward"}
        named = {role: column for role, column in found.items() if column is not None}
        return {"prompt": self.prompt, "reward": "+".join(self.reward), **named}

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column that is read, once."""
        others = (self.step, self.old_log_prob, self.new_log_prob, self.length)
        return tuple(dict.fromkeys([self.prompt, *self.reward, *(one for one in others if one is not None)]))


def parse_columns(text: str) -> dict[str, str]:
    """`prompt=a,reward=b+c` as a mapping of roles to columns.

    Raises:
        ValueError: for an unknown role, or text of another form.
    """
    found: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        role, equals, column = part.partition("=")
        role = role.strip()
        if not equals or not column.strip() or role not in ROLES:
            raise ValueError(f"columns holds {part!r}; write {_SPEECH}, with roles out of {', '.join(ROLES)}")
        found[role] = column.strip()
    return found


def find_layout(file: str, numeric: Mapping[str, bool], chosen: Mapping[str, str]) -> Layout:
    """The layout of a file from its columns in order, each with whether it holds numbers, and the user's choice.

    Raises:
        ValueError: naming the file, its columns, and the role that no column was found for.
    """
    names = list(numeric)
    lowered = {name.lower(): name for name in reversed(names)}
    for role, column in chosen.items():
        for one in column.split("+") if role == "reward" else [column]:
            if one not in numeric:
                raise ValueError(
                    f"file {file!r} has no column {one!r} for {role}, only {_listed(names)}; "
                    f"name one of them with --columns {role}=COLUMN"
                )

    def alias(role: str) -> str | None:
        return next((lowered[name] for name in _ALIASES[role] if name in lowered), None)

    found = {role: chosen.get(role, alias(role)) for role in ROLES}
    name, reward = "columns", None if found["reward"] is None else tuple(found["reward"].split("+"))
    if "prompt" in chosen or "reward" in chosen:
        pass
    elif {"input", "output", "score", "step"} <= set(names):
        name, reward = "verl", ("score",)
        found["prompt"] = "input"
    elif {"prompt", "completion", "advantage"} <= set(names):
        name = "trl"
        first, last = names.index("completion"), names.index("advantage")
        between = tuple(one for one in names[first + 1 : last] if numeric[one])
        found["prompt"], reward = "prompt", between or reward
    for role, missing in (("prompt", not found["prompt"]), ("reward", not reward)):
        if missing:
            raise ValueError(f"file {file!r} has the columns {_listed(names)}, none for {role}; name it with {_SPEECH}")
    optional = {role: found[role] for role in ROLES[2:]}
    return Layout(name, str(found["prompt"]), reward or (), **optional)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "(none)"
