"""The figures of a preset from the runs of any directory: what `tiny-llm-rl reproduce` draws when it has trained."""

from pathlib import Path

from pmdtheory.figures._make import write_figure
from pmdtheory.figures._record import Figure
from pmdtheory.figures._registry import available
from pmdtheory.figures._style import Style
from tiny_llm_rl.figures._lm_runs import LOOKS, comparison, runs_in
from tiny_llm_rl.presets import Preset

__all__ = ["draw_figures", "figures_of"]


def figures_of(chosen: Preset) -> list[Figure]:
    """The figures whose numbers are of this preset's runs alone.

    Those of the registry; where there is none, a comparison of the arms, if all of them have a line style.

    >>> from tiny_llm_rl.presets import preset
    >>> [figure.name for figure in figures_of(preset("cpu-stability"))], figures_of(preset("gpu"))[0].name
    (['lm_stability', 'lm_time'], 'gpu')
    """
    found = [figure for figure in available().values() if figure.config.get("preset") == chosen.name]
    if found or any(arm.name not in LOOKS for arm in chosen.arms):
        return found
    made = comparison(
        name=chosen.name.replace("-", "_"),
        title=chosen.about,
        caption=f"{chosen.about}: mean and range over the seeds; d: every seed, the mean, and the base (C15, C16).",
        preset=chosen.name,
        panels=(
            ("train_reward", "train reward", "linear"),
            ("kl_old_new", "KL(old, new) a batch, nats", "log"),
            ("response_length", "tokens a response", "linear"),
        ),
    )
    return [made]


def draw_figures(chosen: Preset, runs: Path, out: Path) -> list[Path]:
    """Draw a preset's figures from ended runs.

    Args:
        chosen: the preset.
        runs: directory of its run directories; those that are missing are trained.
        out: directory of the figures, their data in `out/data`.

    Returns:
        The files, data included.
    """
    style = Style.of("icml2024")
    with runs_in(chosen.name, runs):
        return [path for figure in figures_of(chosen) for path in write_figure(figure, out, style)]
