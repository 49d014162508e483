"""The architecture, read from the source: which layer imports which, who prints, what an import costs."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pmdtheory"

# A module of the numerical core imports modules of smaller rank only, and nothing outside this table.
RANK = {
    "_checks": 0,
    "_series": 1,
    "divergence": 2,
    "_levels": 3,
    "_quadrature": 3,
    "lambertw": 3,
    "solution": 4,
    "problem": 4,
    "_sampler": 5,
    "_multiplier": 5,
    "_large": 6,
    "update": 7,
}
CLOSED_FORM = {"update", "lambertw", "_multiplier", "_large"}
HEAVY = ("jax", "torch", "matplotlib", "sympy", "clarabel", "flint", "tyro", "rich")


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


@cache
def sources():
    """Module name (relative to the package) to its syntax tree; the package itself is "__init__"."""
    return {module_name(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def guarded(node):
    """Whether this is an `if TYPE_CHECKING:` block, which never runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def running(tree):
    """Every node that can run, in functions too."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if not guarded(node):
            yield node
            pending.extend(ast.iter_child_nodes(node))


@cache
def imports(name):
    """Modules of the package that a module imports, wherever in its source, for running and not for types only."""
    known, found = sources(), set()
    for node in running(known[name]):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        for target in targets:
            parts = target.split(".")
            if parts[0] == "pmdtheory":
                found.add(
                    next(
                        (c for c in (".".join(parts[1:k]) for k in range(len(parts), 1, -1)) if c in known), "__init__"
                    )
                )
    return frozenset(found)


def reached(name):
    """Everything that importing a module brings in, the package's own __init__ aside."""
    seen, pending = set(), [name]
    while pending:
        for other in imports(pending.pop()) - seen - {"__init__"}:
            seen.add(other)
            pending.append(other)
    return seen


def test_the_reader_sees_imports():
    """A guard against a reader that finds nothing and lets everything pass."""
    assert {"divergence", "problem", "solution", "_multiplier"} <= imports("update")
    assert "problem" not in imports("solution")  # only for types
    assert reached("update") | {"update"} >= CLOSED_FORM


@pytest.mark.parametrize("name", RANK)
def test_layers_point_one_way(name):
    for other in imports(name):
        assert other in RANK, f"{name} imports {other}, which is above the numerical core"
        assert RANK[other] < RANK[name], f"{name} imports {other}"


def test_no_cycles():
    for name in sources():
        if name != "__init__":
            assert name not in reached(name), f"{name} imports itself through others"


def test_only_the_front_imports_the_package_itself():
    """Inside the package modules are imported by name, not through `import pmdtheory`; claims and the CLI may."""
    for name in RANK:
        assert "__init__" not in imports(name), name


def test_second_opinions_are_independent():
    """Closed form and numerical solver share Problem, Solution, Update and divergence, nothing else that solves."""
    assert "subproblem" in sources()
    assert not reached("subproblem") & CLOSED_FORM
    numerical = (reached("subproblem") | {"subproblem"}) - set(RANK)
    assert not reached("update") & numerical


FRONT = {name for name in sources() if name in {"cli", "_console", "__main__"} or name.startswith("_cli_")}


@pytest.mark.parametrize("name", sorted(set(sources()) - FRONT))
def test_only_the_command_line_prints_and_exits(name):
    for node in running(sources()[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "exit", "quit", "breakpoint"}, f"{name}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in {"exit", "stdout", "stderr"}, f"{name}:{node.lineno}"


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, pmdtheory; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
try:
    import rich
except ImportError:
    import pmdtheory as pmd
    step = pmd.mean_update(pmd.Problem.binary(0.3, 0.5)).unwrap()
    print(step.multiplier > 0)
"""


def test_updates_work_with_numpy_and_scipy_alone():
    code = BLOCKED.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "True"


def test_public_names_are_explicit():
    """`from pmdtheory.x import y as y`: every public name is stated once, in the package's front."""
    found = [
        alias
        for node in sources()["__init__"].body
        if isinstance(node, ast.ImportFrom) and node.module.startswith("pmdtheory")
        for alias in node.names
    ]
    assert {"Problem", "mean_update", "Solution"} <= {alias.asname for alias in found}
    assert all(alias.asname == alias.name for alias in found)


def test_nothing_in_the_tree_points_outside_of_it():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(files) > 20
    outside = ("../" + "shared").encode()
    offenders = [str(path) for path in files if path.is_file() and outside in path.read_bytes()]
    assert offenders == []
