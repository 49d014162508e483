"""The trainer's architecture, read from its source: what it imports, who prints, what it runs without."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import HEAVY, ROOT, running

PACKAGE = ROOT / "tiny_llm_rl"
SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
FRONT = {name for name in SOURCES if name in {"cli", "__main__"} or name.startswith("_cli_")}
OUTSIDE = (
    "clarabel", "flint", "gguf", "matplotlib", "pyarrow", "rich", "safetensors", "sympy", "tokenizers", "torch", "tyro",
)  # fmt: skip


def test_there_is_something_to_read():
    assert {"train", "bandit", "exact_lm", "tasks.digit_sum"} <= set(SOURCES)


def test_pmdtheory_never_imports_the_trainer():
    for path in (ROOT / "pmdtheory").rglob("*.py"):
        for node in running(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.partition(".")[0] == "tiny_llm_rl" for name in names), path


@pytest.mark.parametrize("name", sorted(set(SOURCES) - FRONT))
def test_only_the_command_line_prints_and_exits(name):
    for node in running(SOURCES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "exit", "quit", "breakpoint"}, f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", sorted(set(SOURCES) - FRONT))
def test_optional_packages_are_imported_where_they_are_used(name):
    for node in SOURCES[name].body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(found.partition(".")[0] in OUTSIDE for found in names), f"{name}:{node.lineno}"


PROGRAM = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
try:
    import rich
except ImportError:
    import pmdtheory, pmdtheory.fast
    from tiny_llm_rl import bandit, exact_lm, experiments, train
    config = bandit.BanditConfig(actions=20, batches=1)
    print(train.TrainConfig().batch, not set(sys.modules) & {blocked!r})
"""


def test_the_trainer_works_without_the_others():
    blocked = set(OUTSIDE)
    assert set(HEAVY) - {"jax"} <= blocked
    code = PROGRAM.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "512 True", done.stderr[-2000:]


def test_files_are_short():
    """One idea a file: the front and the configs of commands aside, none is longer than 300 lines."""
    long = {
        str(Path(path).relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert not long
