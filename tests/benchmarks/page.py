"""The tables of docs/speed.md, from what `make bench OUT=tests/benchmarks/results` has left.

`python -m tests.benchmarks.page` says whether the page holds them; with `--write` it puts them in.
"""

import json
import operator
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, STORED = ROOT / "docs/speed.md", ROOT / "tests/benchmarks/results/cpu.json"
BEGIN, END = "<!-- table -->", "<!-- end -->"
ORDERS = {">=": operator.ge, "<=": operator.le}


def met(row):
    """Whether a row reaches what is wanted of it; None where nothing is."""
    if row["wanted"] is None:
        return None
    if "share" in row:
        return row["share"] < 1.0
    order, number = row["wanted"].split()
    return ORDERS[order](row["ratio"], float(number))


def _ratio(value):
    """Three digits.

    >>> _ratio(1234.5), _ratio(28.417), _ratio(0.0312)
    ('1,230', '28.4', '0.0312')
    """
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _word(row):
    return {None: "-", True: "met", False: "**missed**"}[met(row)]


def tables(record):
    """Markdown of both tables."""
    ratios = [row for row in record["rows"] if "ratio" in row]
    limits = [row for row in record["rows"] if "share" in row]
    lines = ["| what | against | times its speed | asked | |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['against']} | {_ratio(row['ratio'])} | {row['wanted'] or '-'} | {_word(row)} |"
        for row in ratios
    ]
    lines += ["", "| what | limit | share of it used | |", "|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['wanted'].removeprefix('< ')} | {row['share']:.0%} | {_word(row)} |" for row in limits
    ]
    machine = f"{record['processor']}, {record['cores']} cores; " + ", ".join(
        f"{name} {number}" for name, number in record["versions"].items()
    )
    table = re.sub(r"e\+0?(\d)", r"e\1", "\n".join(lines))  # 1e+04 as 1e4
    return f"{table}\n\nMeasured on {machine}."


def written(text, record):
    """The page with the tables of the record."""
    return re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{tables(record)}\n{END}", text, flags=re.DOTALL)


def main():
    record, text = json.loads(STORED.read_text(encoding="utf-8")), PAGE.read_text(encoding="utf-8")
    new = written(text, record)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(new, encoding="utf-8")
    elif new != text:
        sys.exit(f"{PAGE.name} holds other tables; --write puts these in")


if __name__ == "__main__":
    main()
