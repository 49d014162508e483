"""What is written is true: docstrings, README, the generated pages and the captions."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import pmdtheory as pmd
from pmdtheory import cli, figures, report
from pmdtheory.claims import CLAIMS
from pmdtheory.figures._record import claim_ids

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(path.relative_to(ROOT) for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
INTERNAL = {"cli", "report", "__main__"}  # the front end: its public face is the command
SECTIONS = ("Formula:", "Args:", "Returns:", "Raises:", "Numerics:", "Source:", ">>>")


def public_modules():
    names = (module.name for module in pkgutil.iter_modules(pmd.__path__))
    return [name for name in names if not name.startswith("_") and name not in INTERNAL]


def public():
    """Every public object once, by the name under which it is documented."""
    found = {}
    for module in public_modules():
        loaded = importlib.import_module(f"pmdtheory.{module}")
        names = getattr(loaded, "__all__", None) or [name for name in vars(loaded) if not name.startswith("_")]
        for name in names:
            thing = getattr(loaded, name)
            if inspect.isfunction(thing) or inspect.isclass(thing):
                found[f"{module}.{name}"] = thing
    known = set(map(id, found.values()))
    for name in dir(pmd):
        thing = getattr(pmd, name)
        ours = str(getattr(thing, "__module__", "")).startswith("pmdtheory") and id(thing) not in known
        if not name.startswith("_") and ours and (inspect.isfunction(thing) or inspect.isclass(thing)):
            found[name] = thing
    return found


PUBLIC = public()
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}


def members(kind):
    """Public methods and properties that a class defines itself."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and (callable(member) or hasattr(member, "__get__")):
            yield name, getattr(member, "__func__", None) or getattr(member, "func", None) or member


# -- docstrings -----------------------------------------------------------------------------------------------------


def test_there_is_something_to_read():
    assert {"divergence", "lambertw", "batch", "update", "problem", "solution", "subproblem", "claims"} <= set(
        public_modules()
    )
    assert {"update.mean_update", "problem.Problem", "claims.check", "figures.make"} <= set(PUBLIC)


@pytest.mark.parametrize("module", ["", *public_modules()])
def test_modules_are_documented(module):
    loaded = importlib.import_module(f"pmdtheory.{module}".rstrip("."))
    assert len(inspect.getdoc(loaded) or "") > 20


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    text = PUBLIC[name].__doc__ or ""
    assert len(text.strip()) > 15
    assert not text.startswith(f"{PUBLIC[name].__name__}("), "a dataclass without a docstring of its own"
    assert text.strip().splitlines()[0].rstrip().endswith((".", ":", ")", "?")) or "\n" in text.strip()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_name_every_argument(name):
    """Under Args: in the order of the signature, nothing that does not exist."""
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    arguments = [argument for argument in inspect.signature(FUNCTIONS[name]).parameters if argument != "self"]
    section = re.search(r"^Args:\n((?:    .*\n|\n)*)", text + "\n", flags=re.MULTILINE)
    documented = re.findall(r"^    ([*\w][*\w, ]*):", section[1], flags=re.MULTILINE) if section else []
    listed = [argument.strip(" *") for entry in documented for argument in entry.split(",")]
    assert listed == arguments


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_show_an_example(name):
    assert ">>> " in (FUNCTIONS[name].__doc__ or "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_keep_their_order(name):
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    places = [text.index(section) for section in SECTIONS if re.search(rf"^{section}", text, flags=re.MULTILINE)]
    assert places == sorted(places), [section for section in SECTIONS if section in text]


@pytest.mark.parametrize("name", CLASSES)
def test_classes_document_their_members(name):
    kind = CLASSES[name]
    checked = ((member, thing) for member, thing in members(kind) if callable(thing) or isinstance(thing, property))
    bare = [member for member, thing in checked if not (thing.__doc__ or "").strip()]
    assert bare == []


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if dataclasses.is_dataclass(kind)])
def test_records_name_every_field(name):
    kind = CLASSES[name]
    missing = [field.name for field in dataclasses.fields(kind) if not re.search(rf"\b{field.name}\b", kind.__doc__)]
    assert missing == []


CONSTRUCTORS = [name for name, thing in vars(pmd.Problem).items() if isinstance(thing, classmethod)]


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_constructors_show_an_example(name):
    text = getattr(pmd.Problem, name).__doc__
    assert ">>> " in text
    arguments = inspect.signature(getattr(pmd.Problem, name)).parameters
    assert "tau" in arguments
    assert "tau" in text


def test_docstrings_cite_claims_that_exist():
    """Ids up to C22 are the theory's; a docstring may cite one whose check is not in the registry yet."""
    numbers = range(1, 23)
    for name, thing in PUBLIC.items():
        for claim in claim_ids(thing.__doc__ or ""):
            assert int(claim[1:]) in numbers, (name, claim)


def test_every_name_of_the_package_exists():
    for name in dir(pmd):
        assert getattr(pmd, name) is not None, name
        if inspect.isfunction(getattr(pmd, name)) and not name.startswith("_"):
            assert getattr(pmd, name).__module__.startswith("pmdtheory"), f"{name} is not ours to offer"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pmd.nonsense
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", pmd.__version__)
    assert pmd.__version__ == version("pmdtheory")
    assert f"version: {pmd.__version__}\n" in (ROOT / "CITATION.cff").read_text()


# -- README ---------------------------------------------------------------------------------------------------------


def blocks(language):
    """Fenced blocks in the given language, "" for those that name none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [text for named, text in fenced if named == language]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_the_example_of_the_readme_runs():
    found = blocks("python")
    assert found, "README.md has no ```python block"
    source = found[0]
    assert len([line for line in source.splitlines() if line.strip()]) <= 12, "ten lines, more or less"
    last = source.strip().splitlines()[-1]
    assert last.startswith(("assert ", "print(")), "the example ends in the property that it shows"
    names = {}
    exec(compile(source, "README.md", "exec"), names)
    if last.startswith("print("):
        assert eval(last.removeprefix("print(").rpartition(")")[0], names)


def test_the_assertions_of_the_readme_can_fail():
    """The same example with KL-PMD's step in place of PMD-mean's must not pass."""
    source = blocks("python")[0]
    assert "pmd.mean_update(problem)" in source
    with pytest.raises(AssertionError):
        exec(source.replace("pmd.mean_update(problem)", "pmd.kl_update(problem)"), {})


def commands():
    """Words after `make` and after `pmdtheory` in code, inline or in blocks."""
    code = " \n".join([*re.findall(r"`([^`\n]+)`", README), *blocks("sh")])
    targets = [word for line in re.findall(r"\bmake((?: [a-z-]+)+)", code) for word in line.split()]
    return targets, re.findall(r"\bpmdtheory ([a-z]+)", code)


def test_the_commands_of_the_readme_exist():
    targets, subcommands = commands()
    assert {"reproduce", "test"} <= set(targets)
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"make {target}"
    assert {"verify", "update"} <= set(subcommands)
    known = {"verify", "figures", "update", "claims", "variants", "prove", "hunt", "diagnose", "calibrate"}
    assert set(subcommands) <= known
    assert known == {argument.__metadata__[0].name for argument in cli.Command.__args__}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


def test_the_files_of_the_readme_exist():
    (tree,) = [block for block in blocks("") if "pmdtheory/" in block]
    folder = Path()
    for line in tree.splitlines():
        entry = re.split(r" {3,}", line.strip())[0]
        if not line.startswith(" "):
            folder = Path(entry)
            assert (ROOT / folder).exists(), entry
            continue
        for name in entry.split():
            assert (ROOT / folder / name).exists(), f"{folder}/{name}"


# -- claims and captions --------------------------------------------------------------------------------------------


def test_the_page_of_claims_is_the_registry():
    path = ROOT / "docs" / "claims.md"
    assert path.exists(), "write it with: pmdtheory claims --out docs/claims.md"
    assert path.read_text(encoding="utf-8") == report.claims_page(), "renew it: pmdtheory claims --out docs/claims.md"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pages_cite_claims_of_the_registry(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [claim for claim in claim_ids(text) if claim not in CLAIMS] == []


@pytest.mark.parametrize("name", figures.available())
def test_captions_cite_claims_of_the_registry(name):
    figure = figures.available()[name]
    assert figure.claims
    assert set(figure.claims) <= set(CLAIMS)


def test_the_readme_lists_every_claim():
    cited = set(re.findall(r"C\d+", "".join(re.findall(r"^\|([^|]*)\|", README, flags=re.MULTILINE))))
    assert cited == set(CLAIMS)
