"""Files as batches of columns: JSONL, CSV and Parquet."""

from pathlib import Path
from typing import Final

from pmdtheory.rollouts._batches import REMEDY, Source
from pmdtheory.rollouts._csv import csv_source
from pmdtheory.rollouts._jsonl import jsonl_source
from pmdtheory.rollouts._parquet import parquet_source

__all__ = ["FORMATS", "open_source"]

FORMATS: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


def open_source(path: Path) -> Source:
    """A file by its ending; a compressed one is not taken apart.

    Raises:
        ValueError: for a file that cannot be read, is empty, or has another ending; one line with the remedy.
    """
    kinds = {".csv": csv_source, ".parquet": parquet_source}
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"file {str(path)!r} ends in {ending or 'nothing'}; {REMEDY}")
    try:
        if path.stat().st_size == 0:
            raise ValueError(f"file {str(path)!r} is empty; {REMEDY}")
        return kinds.get(ending, jsonl_source)(path)
    except OSError as error:
        raise ValueError(f"file {str(path)!r} cannot be read ({error.strerror or error}); {REMEDY}") from None
    except UnicodeDecodeError:
        raise ValueError(f"file {str(path)!r} is not UTF-8 text; {REMEDY}") from None
