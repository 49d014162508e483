"""Counting a compiled program's kernels and bytes: by hand, and in what XLA makes for this machine."""

import json
import re
from pathlib import Path

import pytest

from tests.benchmarks.gpu_compiled._traffic import Traffic, size, traffic

ROOT = Path(__file__).parents[3]
TEXT = """HloModule program

%fused_sum (a: f32[8], b: f32[8]) -> f32[] {
  %a = f32[8]{0} parameter(0)
  ROOT %sum = f32[] reduce(%a, %a), dimensions={0}
}

%fused_place (c: f32[4,8], p: f32[1,8]) -> f32[4,8] {
  %c = f32[4,8]{1,0} parameter(0)
  %p = f32[1,8]{1,0} parameter(1)
  %zero = s32[] constant(0)
  ROOT %placed = f32[4,8]{1,0} dynamic-update-slice(%c, %p, %zero, %zero)
}

%fused_cut (stack: f32[9,8], k: s32[]) -> f32[8] {
  %stack = f32[9,8]{1,0} parameter(0)
  %k = s32[] parameter(1)
  %flat = f32[72]{0} bitcast(%stack)
  %cut = f32[8]{0} dynamic-slice(%flat, %k), dynamic_slice_sizes={8}
  ROOT %twice = f32[8]{0} add(%cut, %cut)
}

%search (state: (f32[8])) -> (f32[8]) {
  %state = (f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%state), index=0
  %y = f32[8]{0} negate(%x)
  ROOT %next = (f32[8]{0}) tuple(%y)
}

%more (state: (f32[8])) -> pred[] {
  %state = (f32[8]{0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (v: f32[8], cache: f32[4,8], row: f32[1,8]) -> f32[] {
  %v = f32[8]{0} parameter(0)
  %cache = f32[4,8]{1,0} parameter(1)
  %row = f32[1,8]{1,0} parameter(2)
  %written = f32[4,8]{1,0} fusion(%cache, %row), kind=kLoop, calls=%fused_place
  %start = (f32[8]{0}) tuple(%v)
  %found = (f32[8]{0}) while(%start), condition=%more, body=%search
  %ten = (f32[8]{0}) while(%start), condition=%more, body=%search, backend_config={"known_trip_count":{"n":"10"}}
  %step = s32[] constant(1)
  %layers = f32[9,8]{1,0} parameter(3)
  %layer = f32[8]{0} fusion(%layers, %step), kind=kLoop, calls=%fused_cut
  %times = (f32[4]{0}, s8[1000]{0}) custom-call(%v, %layer), custom_call_target="__cublas$lt$matmul"
  ROOT %out = f32[] fusion(%v, %v), kind=kInput, calls=%fused_sum
}
"""


def test_a_program_by_hand():
    """What each kernel reads and writes: arrays of 32 bytes, rows of them, a number of 4 bytes."""
    placed = 32 + 32  # a row is read, and written in place
    negated = 10 * (32 + 32)
    cut = 32 + 4 + 32  # one of nine layers, and its number
    product = 2 * 32 + 16  # without the workspace
    total = 2 * 32 + 4
    once = placed + negated + cut + product + total
    assert traffic(TEXT) == Traffic(kernels=14, bytes=once, loops=(Traffic(kernels=1, bytes=64, loops=()),))


def test_an_operand_that_is_sliced_and_read_counts_whole():
    text = TEXT.replace("ROOT %twice = f32[8]{0} add(%cut, %cut)", "ROOT %twice = f32[8]{0} reduce(%stack, %cut)")
    assert traffic(text).bytes == traffic(TEXT).bytes + 9 * 32 - 32


def test_branches_are_refused():
    text = TEXT.replace("negate(%x)", "conditional(%x, %x, %x)")
    with pytest.raises(ValueError, match="'conditional'"):
        traffic(text)


@pytest.mark.parametrize(
    ("shape", "bytes_"),
    [("f64[3]{0}", 24), ("(pred[2,2]{1,0}, s4[3]{0})", 5), ("f32[]", 4), ("token[]", 0), ("bf16[0,7]{1,0}", 0)],
)
def test_sizes(shape, bytes_):
    assert size(shape) == bytes_


def test_no_program():
    with pytest.raises(ValueError, match="ENTRY"):
        traffic("HloModule nothing")


@pytest.mark.jax
def test_what_xla_prints():
    """A product of matrices, and a loop of five turns, as XLA writes them for a processor."""
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def program(x):
        return jax.lax.fori_loop(0, 5, lambda k, y: jnp.sin(y) @ x, x)

    found = traffic(jax.jit(program).lower(jnp.ones((64, 64), jnp.float32)).compile().as_text())
    assert found.kernels >= 10
    assert found.bytes >= 5 * 5 * 4 * 64 * 64  # of each turn: the sine's two arrays, the product's three
    assert found.loops == ()


def test_pages_say_what_was_counted():
    """Numbers of the results page and of the page of SmolLM2, from the stored record."""
    stored = json.loads((ROOT / "tests/benchmarks/results/nvidia-h100-compiled.json").read_text())["programs"]
    page = (ROOT / "docs/results.md").read_text()
    section = page.partition("H100's compiler")[2].partition("## Speed")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    shown = [
        ["mean_update, 1e+08, float64"], ["mean_update, 1e+08, float32"],
        ["mean_update, 1e+06 x 2e+01, float64", "mean_update, 1e+06 x 2e+01, float32"],
        ["sample, 4096 rows"], ["update, 4096 rows"],
        ["SmolLM2, update, --rows 0", "SmolLM2, update, --rows 16"],
    ]  # fmt: skip
    assert sorted(name for names in shown for name in names) == sorted(stored)
    for row, names in zip(rows[1:], shown, strict=True):
        words = [word for word in row.replace("|", " ").replace(";", " ").replace(",", "").split() if word]
        for name in names:
            record = stored[name]
            once = record["once"]
            numbers = [f"{100 * record['share of the memory']:.0f}"]
            for part in [*once["loops"][:1]] if name.startswith("sample") else [once, *once["loops"][:1]]:
                seconds = 1e3 * part["seconds"]
                numbers += [str(part["kernels"]), (f"{seconds:.0f}" if seconds >= 20 else f"{seconds:.1f}").lstrip("0")]
            assert [n for n in numbers if n not in words] == [], row
    smollm = (ROOT / "docs/smollm.md").read_text()
    for rows_ in (0, 16):
        needed = stored[f"SmolLM2, update, --rows {rows_}"]["temporary"] / 2**30
        assert re.search(rf"`--rows {rows_}` \| [\d.]+ GiB \| {needed:.1f} GiB", smollm)
