"""Grids of configs: axes such as `tau=0.1,0.3` or `seed=0..7`, read by the types of the config's fields."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

from tiny_llm_rl._checks import choice, shown
from tiny_llm_rl.bandit import BanditConfig
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.runlog import plain
from tiny_llm_rl.smollm.training import ChatConfig

__all__ = ["KINDS", "Config", "Grid", "config_of", "overridden", "read_axes", "read_settings"]

Config = TrainConfig | BanditConfig
KINDS: Final[dict[str, type[Config]]] = {"train": TrainConfig, "bandit": BanditConfig, "smollm": ChatConfig}
_LONGEST = 100  # characters of a cell's name
_MOST: Final = 100_000  # values of an axis, and cells


def _inner(owner: type[Any]) -> dict[str, type[Any]]:
    """Fields that are configs themselves, `loss` for one."""
    return {name: hint for name, hint in get_type_hints(owner).items() if isinstance(hint, type) and is_dataclass(hint)}


def config_of(kind: str, values: Mapping[str, Any]) -> Config:
    """The config that JSON holds; fields it lacks have their defaults.

    Raises:
        ValueError: for an unknown field or a value out of range.
    """
    owner = KINDS[choice("kind", kind, KINDS)]
    known = {field.name for field in fields(owner)}
    for name in values:
        if name not in known:
            raise ValueError(f"config has no field {shown(name)} of kind {kind!r}; choose from {', '.join(known)}")
    built = _tuples(values)
    for name, inside in _inner(owner).items():
        if name in built:
            try:
                built[name] = inside(**_tuples(built[name]))
            except TypeError as problem:
                raise ValueError(
                    f"{name} must hold fields of {inside.__name__}, got {shown(built[name])} ({problem}); take those "
                    "of its docstring"
                ) from None
    return owner(**built)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _hint(owner: type[Any], name: str) -> Any:
    """Type of a field, or of `loss.FIELD`; ValueError for a field that is not there."""
    head, _, rest = name.partition(".")
    hints = get_type_hints(owner)
    nested = _inner(owner)
    if head not in hints or (head in nested) != bool(rest):
        names = [field for field in hints if field not in nested] + [f"{field}.FIELD" for field in nested]
        raise ValueError(f"axis {shown(name)} is no field of {owner.__name__}; choose from {', '.join(names)}")
    return _hint(hints[head], rest) if rest else hints[head]


def _read(name: str, hint: Any, text: str) -> Any:
    kinds = set(get_args(hint)) or {hint}
    if NoneType in kinds and text.lower() == "none":
        return None
    try:
        if bool in kinds:
            return {"true": True, "false": False}[text.lower()]
        if int in kinds and hint is int:
            return int(text)
        if float in kinds:
            return float(text)
    except (ValueError, KeyError):
        kind = " or ".join(sorted(k.__name__ for k in kinds if k is not NoneType))
        raise ValueError(
            f"{name} must be of type {kind}, got {shown(text)}; write it as in {name}=VALUE,VALUE"
        ) from None
    if str in kinds:
        return text
    raise ValueError(f"{name} cannot be given as text, got {shown(text)}; give the grid as a JSON file, with lists")


def _values(name: str, hint: Any, text: str) -> tuple[Any, ...]:
    found: list[Any] = []
    for part in text.split(","):
        span = re.fullmatch(r"(\d+)\.\.(\d+)", part)
        if span and hint is int:
            first, last = int(span[1]), int(span[2])
            if last - first >= _MOST:
                raise ValueError(
                    f"axis {name} must have at most {_MOST:,} values, got {part}; give fewer, and several sweeps"
                )
            found += range(first, last + 1)
        else:
            found.append(_read(name, hint, part))
    return tuple(found)


def _typed(hint: Any, value: Any) -> Any:
    """A value of JSON as the field has it, so that 1 and 1.0 are the same setting of a float."""
    if isinstance(value, list):
        return tuple(value)
    number = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if number and float in (set(get_args(hint)) or {hint}) else value


def read_axes(kind: str, texts: Sequence[str]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Axes of a grid from `NAME=VALUE,VALUE` and from JSON files `{"NAME": [VALUE, ...]}`.

    Raises:
        ValueError: for a field that is not there, a value of another type, no value or one that comes twice, naming it.

    >>> read_axes("train", ["tau=0.1,0.3", "seed=0..2"])
    (('tau', (0.1, 0.3)), ('seed', (0, 1, 2)))
    """
    owner = KINDS[choice("kind", kind, KINDS)]
    axes: list[tuple[str, tuple[Any, ...]]] = []
    for text in texts:
        name, equals, values = text.partition("=")
        if equals:
            axes.append((name, _values(name, _hint(owner, name), values)))
            continue
        try:
            stored = json.loads(Path(text).read_text(encoding="utf-8"))
            axes += [(axis, tuple(_typed(_hint(owner, axis), v) for v in list(row))) for axis, row in stored.items()]
        except (OSError, AttributeError, TypeError, json.JSONDecodeError):
            raise ValueError(
                f"grid must be NAME=VALUE,VALUE or a JSON file of names and lists, got {shown(text)}; "
                "for instance tau=0.1,0.3"
            ) from None
    for name, row in axes:
        if not row or len(set(row)) < len(row) or [axis for axis, _ in axes].count(name) > 1:
            raise ValueError(f"axis {name} must have values, each once, got {shown(row)}; name each setting once")
    if not axes:
        raise ValueError("grid is empty; give at least one axis, for instance tau=0.1,0.3")
    return tuple(axes)


def read_settings(kind: str, texts: Iterable[str]) -> dict[str, Any]:
    """Settings shared by all cells, `NAME=VALUE`; where a field is a list, `NAME=VALUE,VALUE`.

    >>> read_settings("train", ["tau=0.1", "difficulty=4,6"])
    {'tau': 0.1, 'difficulty': (4, 6)}
    """
    owner = KINDS[choice("kind", kind, KINDS)]
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"set must be NAME=VALUE, got {shown(text)}; for instance batches=20")
        if name in found:
            raise ValueError(f"set {name} is given twice, {shown(text)} the second time; give it once")
        hint = _hint(owner, name)
        several = get_args(hint)[0] if get_origin(hint) is tuple else None
        found[name] = tuple(_read(name, several, v) for v in value.split(",")) if several else _read(name, hint, value)
    return found


def overridden(config: Config, settings: Mapping[str, Any]) -> Config:
    """The config with other values, `loss.FIELD` among them, all at once, so that only the result is checked."""
    plainly: dict[str, Any] = {name: value for name, value in settings.items() if "." not in name}
    for name in _inner(type(config)):
        inside = {key.partition(".")[2]: value for key, value in settings.items() if key.startswith(f"{name}.")}
        if inside:
            plainly[name] = replace(getattr(config, name), **inside)
    return replace(config, **plainly)


def _word(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)


def _name(settings: Mapping[str, Any]) -> str:
    """A directory's name that the settings alone decide: themselves, or their hash where they make no name."""
    name = ",".join(f"{axis}={_word(value)}" for axis, value in settings.items())
    if len(name) <= _LONGEST and re.fullmatch(r"[\w.,=+-]+", name):
        return name
    return hashlib.sha256(json.dumps(plain(dict(settings))).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Grid:
    """A config and what varies.

    Attributes:
        kind: of `KINDS`.
        base: what all cells share.
        axes: fields and the values they take.

    >>> grid = Grid("train", TrainConfig(), read_axes("train", ["tau=0.1,0.3", "seed=0..2"]))
    >>> list(grid.cells)[:2], len(grid.cells)
    (['tau=0.1,seed=0', 'tau=0.1,seed=1'], 6)
    """

    kind: str
    base: Config
    axes: tuple[tuple[str, tuple[Any, ...]], ...]

    @property
    def settings(self) -> list[dict[str, Any]]:
        """What each cell overrides, the last axis fastest."""
        names = [name for name, _ in self.axes]
        return [dict(zip(names, row, strict=True)) for row in itertools.product(*(values for _, values in self.axes))]

    @property
    def cells(self) -> dict[str, Config]:
        """Name and config of each cell; ValueError for a combination that cannot be run."""
        return {_name(settings): overridden(self.base, settings) for settings in self.settings}
