"""Figures: what they draw is what they computed, what is stored is checked, and nothing is left half-done."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import pmdtheory as pmd
from pmdtheory import figures
from pmdtheory.figures import _data, _make, _registry
from pmdtheory.figures._style import Style
from tests.tolerances import ROOT

COMMITTED = Path(__file__).parents[2] / "figures"
NAMES = ["binary_step", "ratio_tilt"]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return {name: _make._computed(figure)[0] for name, figure in figures.available().items() if name in NAMES}


@pytest.fixture
def folder(tmp_path: Path, arrays: dict[str, Any]) -> Path:
    """A directory with the data of `ratio_tilt`."""
    (tmp_path / "data").mkdir()
    figure = figures.available()["ratio_tilt"]
    (tmp_path / "data" / "ratio_tilt.json").write_bytes(_data.encode(figure, arrays["ratio_tilt"]))
    return tmp_path


def edit(folder: Path, change: Any) -> None:
    path = folder / "data" / "ratio_tilt.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- artists --------------------------------------------------------------------------------------------------------


def test_ratio_tilt_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["ratio_tilt"], canvases["ratio_tilt"]
    assert canvas.get_supxlabel() == "reward $r$ (reward units)"
    assert canvas.get_supylabel() == r"ratio $\rho=\pi^+/\pi$"
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == [
        "KL-PMD ($c=0$)",
        r"$c=\lambda/16$",
        r"$c=\lambda/4$",
        r"PMD-mean ($c=\lambda$)",
        r"$c=4\lambda$",
        r"PMD-mean, $\tau\to0$",
    ]
    assert len(canvas.axes) == data["tau"].size == 4
    for t, axes in enumerate(canvas.axes):
        guide, *members = axes.get_lines()
        assert axes.get_yscale() == "log"
        assert rf"$\tau={data['tau'][t]:g}$" in axes.get_title(loc="left")
        assert list(guide.get_ydata()) == [1.0, 1.0]
        assert len(members) == 5 + (t == 3)  # the limit applies where tau is smallest
        for k, line in enumerate(members[:5]):
            np.testing.assert_array_equal(line.get_xdata(), data["reward"])
            np.testing.assert_array_equal(line.get_ydata(), np.exp(data["log_ratio"][t, k]))
    np.testing.assert_array_equal(members[5].get_ydata(), data["limit_ratio"][data["limit_ratio"] > 0])


def test_ratio_tilt_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["ratio_tilt"]
    r, log_ratio = data["reward"], data["log_ratio"]
    for t, tau in enumerate(data["tau"]):
        kl, mean = log_ratio[t, 0], log_ratio[t, 3]
        np.testing.assert_allclose(np.diff(kl) / np.diff(r), 1 / tau, rtol=1e-8)  # exponential
        lam = data["multiplier"][t]
        np.testing.assert_allclose(mean + lam * np.exp(mean), (r - 0.5) / tau, atol=ROOT * max(1, 1 / tau))  # C1
        for member in log_ratio[t, 1:]:  # C8: one crossing, from above
            assert np.count_nonzero(np.diff(np.sign(member - kl))) == 1
            assert member[0] > kl[0]
    error = np.abs(np.exp(log_ratio[:, 3]) - data["limit_ratio"]).max(axis=1)
    assert np.all(np.diff(error) < 0)  # C21


def test_binary_step_draws_its_arrays(arrays: dict[str, Any], canvases: dict[str, Any]) -> None:
    data, canvas = arrays["binary_step"], canvases["binary_step"]
    p, even = data["p_log"], data["p"]
    size = data["tau"].size
    a, b, c, d, e, f = canvas.axes
    assert [axes.get_ylabel() for axes in canvas.axes] == [
        r"$\rho_1$",
        r"$\rho_0$",
        "$p^+$",
        "$1-p^+$",
        r"$\varphi$",
        r"$\varphi$",
    ]
    assert [axes.get_xlabel() for axes in (a, b, c, d, f)] == ["success mass $p$"] * 5
    assert e.get_xlabel() == r"$\tau\,\log(1/p)$ (reward units)"
    assert e.xaxis_inverted()  # p grows to the right in every panel
    assert [axes.get_xscale() for axes in canvas.axes] == ["log"] * 3 + ["linear"] * 3
    assert [axes.get_yscale() for axes in canvas.axes] == ["log"] * 4 + ["linear"] * 2
    assert [len(axes.get_lines()) for axes in canvas.axes] == [8, 8, 8, 8, 5, 4 + 2 + 2]
    rows = {
        a: np.exp(np.concatenate([data["kl_success"], data["log_success"]])),
        b: np.exp(np.concatenate([data["kl_failure"], data["log_failure"]])),
        c: p * np.exp(np.concatenate([data["kl_success"], data["log_success"]])),
        d: np.concatenate(
            [(1 - even) * np.exp(-even / data["tau"][:, None]), (1 - even) * np.exp(data["failure_log_ratio"])]
        ),
        e: data["fraction_depth"],
        f: data["fraction"],
    }
    for axes, expected in rows.items():
        for line, row in zip(axes.get_lines(), expected, strict=False):
            np.testing.assert_array_equal(line.get_ydata(), row)
    for tau, line in zip((0.1, 0.03), f.get_lines()[size:], strict=False):  # drawn only where it applies
        assert min(line.get_xdata()) >= 5 * tau
    np.testing.assert_array_equal(
        f.get_lines()[-1].get_xydata(), np.stack([data["p_min"], data["fraction_min"]], axis=1)
    )
    labels = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert labels[::2] == [rf"$\tau={tau:g}$" for tau in data["tau"]]
    assert labels[1::2] == ["PMD-mean", "KL-PMD", "limit, bound", r"minimum of $\varphi$"]


def test_binary_step_shows_what_its_caption_says(arrays: dict[str, Any]) -> None:
    data = arrays["binary_step"]
    tau, p = data["tau"], data["p"]
    known = [(0.31940, 0.90393), (0.15024, 0.61148), (0.05789, 0.32087), (0.01838, 0.13399)]  # C9
    np.testing.assert_allclose(np.stack([data["p_min"], data["fraction_min"]], axis=1), known, atol=6e-6)
    for t in range(tau.size):
        step = pmd.mean_update(pmd.Problem.binary(data["p_min"][t], tau[t])).unwrap()
        assert abs(tau[t] * np.diff(step.log_ratio)[0] - data["fraction_min"][t]) < ROOT
        assert np.all(data["failure_log_ratio"][t] <= (-p + ROOT) / tau[t])
        for row in (data["fraction"][t], data["fraction_depth"][t]):
            assert row.min() >= data["fraction_min"][t] - ROOT
            slope = np.diff(row)
            falls = slope[np.abs(slope) > 1e-9] < 0.0  # phi is flat to rounding where it is one
            assert np.count_nonzero(np.diff(falls)) <= 1  # one minimum
        far = p >= 5 * tau[t]
        near = p[far] + tau[t] * np.log(1 / p[far])
        assert tau[t] > 0.1 or np.max(np.abs(data["fraction"][t][far] - near)) < 0.02
    off = np.abs(data["fraction_depth"] - np.minimum(data["depth"] / 2, 1))[:, data["depth"] > 0.5]
    assert np.all(np.diff(off.max(axis=1)) < 0)  # towards the limit as tau falls


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_another_or_leaves_the_page(name: str, canvases: dict[str, Any]) -> None:
    canvas = canvases[name]
    with Style.of("icml2024").context():
        FigureCanvasAgg(canvas).draw()
    box = canvas.bbox
    labels = [axis.label for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    labels += [text for text in (canvas._supxlabel, canvas._supylabel) if text]
    labels += [axes._left_title for axes in canvas.axes] + canvas.legends[0].get_texts()
    labels = [label for label in labels if label.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    for i, one in enumerate(boxes):
        assert box.x0 <= one.x0
        assert one.x1 <= box.x1
        assert box.y0 <= one.y0
        assert one.y1 <= box.y1
        assert not any(one.overlaps(other) for other in boxes[:i])
        assert labels[i].get_fontsize() >= 6.5


@pytest.mark.parametrize("name", NAMES)
def test_lines_differ_by_more_than_colour(name: str, canvases: dict[str, Any]) -> None:
    handles = canvases[name].legends[0].legend_handles
    looks = [(line._unscaled_dash_pattern, line.get_marker(), line.get_linewidth()) for line in handles]
    assert len({str(look) for look in looks}) == len(looks)


@pytest.mark.parametrize("venue", ["neurips2024", "aaai2024", "jmlr2001"])
def test_venues_have_their_width(venue: str) -> None:
    assert venue in figures.venues()
    width = figures.draw("ratio_tilt", venue=venue).get_size_inches()[0]
    assert width == pytest.approx({"neurips2024": 5.5, "aaai2024": 3.3, "jmlr2001": 6.0}[venue])


# -- the committed figures ------------------------------------------------------------------------------------------


@pytest.mark.slow  # `make reproduce-quick` does the same
def test_committed_figures_are_what_the_code_gives() -> None:
    before = tree(COMMITTED)
    results = figures.make(out=COMMITTED, check=True)
    assert [result.message for result in results if not result.ok] == []
    assert [(result.name, result.files) for result in results] == [(name, ()) for name in figures.available()]
    assert tree(COMMITTED) == before
    assert {f"{name}.{format}" for name in figures.available() for format in ("pdf", "png")} <= set(before)


def test_readme_is_in_step() -> None:
    text = (COMMITTED / "README.md").read_text()
    assert text == figures.readme(), "write figures/README.md again from pmdtheory.figures.readme()"
    for name in figures.available():
        assert f"`pmdtheory figures {name}`" in text


def test_captions_cite_their_claims() -> None:
    for figure in figures.available().values():
        assert figure.claims
        assert all(re.fullmatch(r"C([1-9]|1[0-9]|2[0-2])", claim) for claim in figure.claims)


# -- checks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_array_is_compared(name: str, arrays: dict[str, Any]) -> None:
    figure, data = figures.available()[name], arrays[name]
    assert _data.mismatch(figure, data, data)[0] == 0.0
    for key, array in data.items():
        for factor, caught in ((1 + 1e-8, True), (1 + 1e-11, False)):
            changed = array.copy()
            changed.flat[np.argmax(np.abs(array))] *= factor
            far, where = _data.mismatch(figure, data, {**data, key: changed})
            assert (far > _data.RELATIVE) is caught
            assert where == key


def test_perturbed_data_fail_the_check(folder: Path) -> None:
    (good,) = figures.make(["ratio_tilt"], out=folder, check=True)
    assert good.ok
    assert good.message == ""

    def nudge(document: dict[str, Any]) -> None:
        document["arrays"]["log_ratio"][2][3][5] *= 1 + 1e-7

    edit(folder, nudge)
    before = tree(folder)
    (bad,) = figures.make(["ratio_tilt"], out=folder, check=True)
    assert not bad.ok
    assert bad.mismatch == pytest.approx(1e-7, rel=1e-3)
    assert "array log_ratio" in bad.message
    assert "pmdtheory figures ratio_tilt" in bad.message
    assert tree(folder) == before


def test_another_configuration_fails_the_check(folder: Path) -> None:
    edit(folder, lambda document: document["config"].update(nodes=128))
    (bad,) = figures.make(["ratio_tilt"], out=folder, check=True)
    assert not bad.ok
    assert "another configuration" in bad.message


def test_versions_are_recorded_and_not_checked(folder: Path) -> None:
    edit(folder, lambda document: document["versions"].update(numpy="1.0"))
    assert figures.make(["ratio_tilt"], out=folder, check=True)[0].ok


CPUS = """processor\t: 0
cpu family\t: 26
model\t\t: 2
model name\t: Some Chip
processor\t: 1
model name\t: Some Chip
"""


@pytest.mark.parametrize(
    ("says", "found"), [(CPUS, "Some Chip, family 26, model 2"), ("Features : fp asimd\n", "metal"), (None, "metal")]
)
def test_figures_that_train_record_packages_and_processor(
    arrays: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str | None, found: str
) -> None:
    if says is not None:
        (tmp_path / "cpuinfo").write_text(says)
    monkeypatch.setattr(_data, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(_data, "platform", SimpleNamespace(
        machine=lambda: "metal", processor=lambda: "", python_version=platform.python_version
    ))  # fmt: skip
    figure = figures.available()["ratio_tilt"]
    plain = json.loads(_data.encode(figure, arrays["ratio_tilt"]))["versions"]
    assert set(plain) == {"python", "pmdtheory", "numpy", "scipy"}
    more = json.loads(_data.encode(replace(figure, packages=("matplotlib",)), arrays["ratio_tilt"]))["versions"]
    assert more == {**plain, "matplotlib": version("matplotlib"), "processor": found}


def test_missing_data_fail_the_check(tmp_path: Path) -> None:
    (missing,) = figures.make(["ratio_tilt"], out=tmp_path, check=True)
    assert not missing.ok
    assert "write them with `pmdtheory figures ratio_tilt`" in missing.message
    assert tree(tmp_path) == {}


def test_mismatch_of_what_vanishes_or_is_missing(arrays: dict[str, Any]) -> None:
    figure = replace(figures.available()["ratio_tilt"], floors={"tau": 1.0})
    for key, old, new, expected in (
        ("reward", [1.0, 0.0, np.nan], [1.0, 1e-17, np.nan], 1e-11),
        ("reward", [1.0, np.nan], [1.0, 2.0], np.inf),
        ("reward", [1.0], [1.0, 2.0], np.inf),
        ("reward", [0.0, np.nan], [0.0, np.nan], 0.0),
        ("reward", [-1e-30, -1.0], [-2e-30, -1.0], 0.5),
        ("tau", [1e-16], [5e-16], 4e-16),
    ):
        far, _ = _data.mismatch(figure, {key: np.array(old)}, {key: np.array(new)})
        assert far == pytest.approx(expected)


# -- bytes ----------------------------------------------------------------------------------------------------------


def test_same_bytes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    formats = ("pdf", "png", "svg")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    (first,) = figures.make(["ratio_tilt"], out=tmp_path / "a", formats=formats)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400000")
    assert sorted(path.name for path in first.files) == [f"ratio_tilt.{end}" for end in ("json", "pdf", "png", "svg")]
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None}):  # the user's settings do not matter
        figures.make(["ratio_tilt"], out=tmp_path / "b", formats=formats)
    figures.make(["ratio_tilt"], out=tmp_path / "b", formats=["pdf"], reuse_data=True)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_reuse_computes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_make, "_computed", None)
    before = tree(folder)
    (result,) = figures.make(["ratio_tilt"], out=folder, reuse_data=True, formats=["svg"])
    assert result.ok
    assert np.isnan(result.mismatch)
    assert set(tree(folder)) == {*before, "ratio_tilt.svg"}


def test_progress_counts_figures(folder: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    figures.make(["ratio_tilt"], out=folder, formats=["png"], progress=lambda *call: calls.append(call))
    assert calls == [("ratio_tilt: computing", 0, 1), ("ratio_tilt: drawing", 0, 1), ("done", 1, 1)]


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["nonsense"]}, r"unknown figure 'nonsense'; choose from agreement"),
        ({"names": "ratio_tilt"}, r"names and formats must be sequences of strings.*; pass lists"),
        ({"venue": "nature1869"}, r"unknown venue 'nature1869'; choose from aaai2024"),
        ({"venue": "__doc__"}, r"unknown venue"),
        ({"formats": ["png", "bmp"]}, r"unknown format 'bmp'; choose from pdf, png, svg"),
        ({"formats": []}, r"formats is empty; choose from pdf"),
        (
            {"reuse_data": True},
            r"data file .*ratio_tilt.json cannot be read .*compute it with `pmdtheory figures ratio_tilt`",
        ),
    ],
    ids=str,
)
def test_bad_arguments(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        figures.make(**{"names": ["ratio_tilt"], "out": tmp_path, **options})
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.clear(),
        lambda document: document.update(schema=0),
        lambda document: document.update(name="binary_step"),
        lambda document: document.update(arrays=[]),
        lambda document: document.pop("config"),
        lambda document: document["arrays"].pop("tau"),
        lambda document: document["arrays"].update(tau=["1", "2", "3", "4"]),
        lambda document: document["arrays"].update(tau=[1.0, [2.0]]),
        lambda document: document["arrays"].update(tau=[1.0, 2.0]),
        lambda document: document["arrays"].update(tau=1.0),
        lambda document: document["arrays"].update(tau=[True] * 4),
        lambda document: document["arrays"].update(tau=[10**400] * 4),
        lambda document: document["arrays"].update(tau=[float("inf")] * 4),
    ],
)
@pytest.mark.parametrize("mode", ["reuse_data", "check"])
def test_malformed_data(change: Any, mode: str, folder: Path) -> None:
    edit(folder, change)
    before = tree(folder)
    with pytest.raises(ValueError, match=r"data file .*ratio_tilt.json.*with `pmdtheory figures ratio_tilt`") as caught:
        figures.make(["ratio_tilt"], out=folder, **{mode: True})
    assert "\n" not in str(caught.value)
    assert tree(folder) == before


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1, "arrays": 1e999}'])
def test_data_that_are_no_document(text: bytes, folder: Path) -> None:
    (folder / "data" / "ratio_tilt.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"data file .*; recompute it with `pmdtheory figures ratio_tilt`"):
        figures.make(["ratio_tilt"], out=folder, reuse_data=True)


def test_unwritable_out_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out: .* cannot be written .*pass a directory you can write"):
        figures.make(["ratio_tilt"], out=tmp_path / "file", formats=["png"])

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ValueError, match="No space left on device"):
        figures.make(["ratio_tilt"], out=tmp_path / "out", formats=["png"])
    assert tree(tmp_path) == {"file": b""}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "Ratio Tilt", "name must be a lower-case identifier"),
        ("caption", "no claim", "cite at least one"),
        ("caption", "(C0)", "cite at least one"),
        ("floors", {"nonsense": 1.0}, "name arrays of the figure"),
    ],
)
def test_wrong_figures(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(figures.available()["ratio_tilt"], **{field: value})


@pytest.mark.parametrize("value", [np.array(np.inf), np.zeros(2)])
def test_compute_keeps_to_what_is_declared(value: Any, offered: Any, tmp_path: Path) -> None:
    offered(replace(PLUGIN, compute=lambda config: {"x": value}))
    with pytest.raises(ValueError, match=r"compute of plugin: array x (holds an infinity|has shape \(2,\), not \[\])"):
        figures.make(["plugin"], out=tmp_path)
    assert tree(tmp_path) == {}


# -- figures of other packages --------------------------------------------------------------------------------------


def _plain(data: Any, style: Style) -> Any:
    canvas, (axes,) = style.panels(1, 1, height=0.5)
    axes.plot([0.0, 1.0], [0.0, float(data["x"])])
    return canvas


PLUGIN = figures.Figure(
    name="plugin",
    title="A figure of another package",
    caption="Nothing to see (C20).",
    config={},
    arrays={"x": "[], nats"},
    compute=lambda config: {"x": np.array(2.0)},
    draw=_plain,
)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that offers an object through the entry-point group, under the name `plugin` or another."""

    def offer(value: Any, name: str = "plugin") -> None:
        def load() -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        point = SimpleNamespace(name=name, value="package.module:FIGURE", load=load)
        monkeypatch.setattr(_registry, "entry_points", lambda *, group: [point] * (group == "pmdtheory.figures"))

    return offer


def test_entry_points_are_figures(offered: Any, tmp_path: Path) -> None:
    offered(PLUGIN)
    assert {*NAMES, "plugin"} <= set(figures.available())
    (made,) = figures.make(["plugin", "plugin"], out=tmp_path, formats=["png", "png"])
    assert [path.name for path in made.files] == ["plugin.json", "plugin.png"]
    assert "| C20 | Nothing to see (C20). |" in figures.readme()


@pytest.mark.parametrize(
    ("value", "name", "message"),
    [
        (ImportError("no jax"), "plugin", r"cannot be loaded: ImportError\('no jax'\)"),
        ("text", "plugin", "is no Figure of that name"),
        (PLUGIN, "other", "is no Figure of that name"),
        (replace(PLUGIN, name="ratio_tilt"), "ratio_tilt", "takes a name that is in use"),
    ],
    ids=["broken", "text", "renamed", "taken"],
)
def test_bad_entry_points(value: Any, name: str, message: str, offered: Any) -> None:
    offered(value, name)
    with pytest.raises(ValueError, match=f"{message}.*correct or uninstall the package"):
        figures.available()


def test_expensive_figures_are_computed_on_request_only(offered: Any, tmp_path: Path) -> None:
    offered(replace(PLUGIN, expensive=True))
    with pytest.raises(ValueError, match=r"data file .*plugin.json cannot be read"):
        figures.make(["plugin"], out=tmp_path, formats=["png"])
    (made,) = figures.make(["plugin"], out=tmp_path, formats=["png"], recompute=True)
    assert made.files[0].name == "plugin.json"
    offered(replace(PLUGIN, expensive=True, compute=lambda config: {"x": np.array(3.0)}))
    (drawn,) = figures.make(["plugin"], out=tmp_path, formats=["png"])
    assert [path.name for path in drawn.files] == ["plugin.png"]
    (unchecked,) = figures.make(["plugin"], out=tmp_path, check=True)
    assert unchecked.ok
    assert "expensive" in unchecked.message
    assert not figures.make(["plugin"], out=tmp_path, check=True, recompute=True)[0].ok


def test_importing_figures_loads_no_matplotlib() -> None:
    code = "import sys; from pmdtheory import figures; figures.readme(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pmdtheory.figures.ratio_tilt" in done.stdout.split()
    assert not {"matplotlib", "tueplots"} & set(done.stdout.split())
