"""The structure of the notebooks: prose between cells, outputs that show something, public names, no machine paths.

`make notebooks` runs them; here they are only read.
"""

import ast
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

from pmdtheory.claims import CLAIMS

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECTIONS = 5  # a notebook with fewer has lost some
PATHS = re.compile(
    r"(?:^|[\s\"'(=])(?:/(?:home|root|tmp|usr|work|opt|mnt|var|Users)/|[A-Za-z]:\\|~/)|file://|site-packages"
)
WARNED = re.compile(r"Warning\b|Traceback \(most recent call last\)")


@cache
def load(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in load(path).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code(path) for output in cell.outputs]


def text(output):
    """What a reader sees of an output, pictures aside."""
    if output.output_type == "stream":
        return output.text
    return "\n".join(str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def imported(source):
    """Dotted names that a cell imports, and attributes it reads, of the package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def sections(path):
    """The cells below each second-level heading."""
    found = []
    for cell in load(path).cells:
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.M):
            found.append([])
        if found:
            found[-1].append(cell)
    return found


def test_there_are_three():
    assert [path.stem[:2] for path in NOTEBOOKS][:3] == ["01", "02", "03"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_it_parses_and_names_no_kernel_of_a_machine(notebook):
    book = load(notebook)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    assert set(book.metadata) <= {"kernelspec", "language_info"}
    ids = [cell.id for cell in book.cells]
    assert len(set(ids)) == len(ids)


def test_it_was_run_from_top_to_bottom_without_errors(notebook):
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]
    assert not [text(output) for output in outputs(notebook) if WARNED.search(text(output))]


def test_it_shows_pictures_and_numbers(notebook):
    kinds = [kind for output in outputs(notebook) for kind in output.get("data", {})]
    assert kinds.count("image/png") >= 3
    assert sum(output.output_type == "stream" for output in outputs(notebook)) >= 10
    assert not [kind for kind in kinds if "widget" in kind]  # a live widget is dead in a file


def test_prose_stands_between_code_cells(notebook):
    kinds = [cell.cell_type for cell in load(notebook).cells]
    assert kinds[0] == "markdown"
    assert ("code", "code") not in list(zip(kinds, kinds[1:], strict=False))
    assert all(cell.source.strip() for cell in load(notebook).cells)


def test_sections_end_with_evidence(notebook):
    """The last code cell of every section asserts something or prints a number, and the section names its claim."""
    found = sections(notebook)
    assert len(found) >= SECTIONS
    for section in found:
        title = section[0].source.splitlines()[0]
        last = [cell for cell in section if cell.cell_type == "code"][-1].source
        assert re.search(r"\bassert\b|\bprint\(", last), title
        assert re.search(r"\bC\d+\b", "\n".join(cell.source for cell in section)), title


def test_claims_are_those_of_the_registry(notebook):
    seen = "\n".join([cell.source for cell in load(notebook).cells] + [text(output) for output in outputs(notebook)])
    mentioned = set(re.findall(r"\bC[1-9]\d?\b", seen))
    assert mentioned
    assert mentioned <= set(CLAIMS)


def test_it_uses_public_names_only(notebook):
    names = [name for cell in code(notebook) for name in imported(cell.source)]
    assert any(name.startswith("pmdtheory") for name in names)
    private = [
        name
        for name in names
        if name.split(".")[0] in {"pmd", "pmdtheory"} and any(part.startswith("_") for part in name.split("."))
    ]
    assert private == []


def test_there_is_one_slider_and_it_is_optional(notebook):
    cells = [cell.source for cell in code(notebook) if "import ipywidgets" in cell.source]
    assert len(cells) == 1
    assert "except ImportError" in cells[0]


def test_it_names_no_path_of_a_machine(notebook):
    assert PATHS.search('open("/home/me/x")')  # a guard against a pattern that finds nothing
    assert PATHS.search("C:\\Users")
    seen = [cell.source for cell in load(notebook).cells] + [text(output) for output in outputs(notebook)]
    assert [found.group() for each in seen if (found := PATHS.search(each))] == []


def test_links_lead_somewhere(notebook):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", "\n".join(cell.source for cell in load(notebook).cells))
    assert targets
    assert [target for target in targets if not (notebook.parent / target).exists()] == []
