"""The tables of README and docs: sections between markers, written from the committed records and the Makefile; and
the pictures of the records.

    python -m experiments.tables

The text of the tables is in tables.md.jinja.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from support import cli, files, intervals

import jinja2

import recipes
import results
from experiments import frontier, pictures
from reporting import plots

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / results.RECORDS
TEMPLATE = Path(__file__).with_name("tables.md.jinja")
TEST_IMAGES = 10_000
START, END = "<!-- {}: written by make readme -->", "<!-- end of {} -->"
SECTIONS = {
    "README.md": ("verdict", "results", "headline"),
    "docs/speed.md": ("speed",),
    "docs/records.md": ("goals", "claims"),
    "docs/reproduced.md": ("published",),
    "docs/development.md": ("targets",),
}


def read_records(folder: Path = RECORDS) -> dict[str, dict[str, Any]]:
    """{recipe: record} of all recipes that have one of their own."""
    paths = (folder / f"{name}.json" for name in recipes.RECIPES)
    return {path.stem: json.loads(path.read_bytes()) for path in paths if path.exists()}


def content(section: str) -> Any:
    """What a section shows: records, the benchmark, or the targets of the Makefile."""
    if section == "targets":
        return re.findall(r"^([a-z-]+):[^#\n]*## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if section in ("results", "goals"):
        return read_records()
    if section == "claims":
        return frontier.CLAIMS
    name = {"verdict": "default", "published": "published"}.get(section, "bench")
    return json.loads((RECORDS / f"{name}.json").read_bytes())


def mnist_records(folder: Path) -> dict[str, dict[str, Any]]:
    """{recipe: record} of those whose accuracy is that of MNIST's test images."""
    dataset = recipes.Recipe().dataset
    return {name: record for name, record in read_records(folder).items() if record["recipe"]["dataset"] == dataset}


def speeds(folder: Path = RECORDS) -> tuple[dict[str, Any], ...]:
    """What pictures.speeds shows of the records in a folder, whose test images are the benchmark's."""
    bench, published = (json.loads((folder / f"{name}.json").read_bytes()) for name in ("bench", "published"))
    return bench, published, mnist_records(folder)


def sizes(folder: Path = RECORDS) -> tuple[dict[str, Any], ...]:
    """What pictures.frontier shows of the records in a folder."""
    claims = {}
    for claim in frontier.CLAIMS:
        claims.setdefault(claim.picked, []).append((claim.parameters, claim.accuracy))
    return claims, mnist_records(folder)


PICTURES = {"bench.png": (pictures.speeds, speeds), "frontier.png": (pictures.frontier, sizes)}


def draw(name: str, folder: Path = RECORDS) -> Path:
    """Draw a picture from the records in a folder, into it; returns its path."""
    plot, content = PICTURES[name]
    plots.save(folder / name, plot, *content(folder))
    return folder / name


def spread(values: list[float], digits: int, with_range: bool = True) -> str:
    """The median of some values, with the smallest and the largest where there are several."""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})" if with_range and len(values) > 1 else middle


def align(text: str) -> str:
    """Markdown whose tables have aligned columns."""

    def table(match: re.Match) -> str:
        head, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in match[0].splitlines())
        return results.markdown_table(head, rows) + "\n"

    return re.sub(r"(?:^\|.*\|\n)+", table, text, flags=re.MULTILINE)


def render(section: str, shown: Any) -> str:
    """A section as Markdown, of what it shows."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.globals |= {"wilson_interval": intervals.wilson_interval, "test_images": TEST_IMAGES}
    environment.globals |= {"goals_of": frontier.GOALS}
    environment.filters |= {"median": statistics.median, "spread": spread, "extract": lambda key, spent: spent[key]}
    module = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).module
    text = re.sub(r"[ \t]+$", "", str(getattr(module, section)(shown)), flags=re.MULTILINE)
    return align(re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n").strip()


def fill(text: str, section: str, written: str) -> str:
    """The text with what is between the markers of a section replaced."""
    start, end = START.format(section), END.format(section)
    before, rest = text.split(start)
    return f"{before}{start}\n\n{written}\n\n{end}{rest.split(end)[1]}"


def renew(name: str) -> str:
    """A file of the documentation with all its sections renewed."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for section in SECTIONS[name]:
        text = fill(text, section, render(section, content(section)))
    return text


def main(argv: list[str] | None = None) -> int:
    cli.Parser(description="Write the tables of README and docs from the records.").parse_args(argv)
    for name in SECTIONS:
        files.replace_file(ROOT / name, renew(name).encode())
    for name in PICTURES:
        draw(name)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
