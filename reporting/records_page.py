"""The page of records, one file of HTML without a script: who holds which category, accuracy over parameters and over
seconds, every seed, and beside them what others have published.

    records_page.render({"default", "under5k"})
"""

import dataclasses
import math
from collections.abc import Callable

from support import intervals

import recipes
import results
from reporting import standings
from reporting.standings import Category, Record
from reporting.templates import TEMPLATES

WIDTH, HEIGHT = 432, 300  # of a chart, in units of its view box
LEFT, RIGHT, TOP, BOTTOM = 44, 420, 12, 262  # of its axes
POWERS = [10**power for power in range(-2, 7)]
IMAGES = 10_000  # of the test part of MNIST

Place = Callable[[float], float]  # of a value on an axis


@dataclasses.dataclass(frozen=True)
class Mark:
    """A figure on a chart: `own`, with the interval of its mean over seeds; of a published system as it is `reached`
    here, with the interval of one run; or as it is `claimed`."""

    kind: str
    name: str
    x: float
    accuracy: float
    interval: list[float] | None = None


def log_axis(low: float, high: float, start: float, end: float) -> Place:
    """An axis in the logarithm of its values, which has low at start and high at end."""
    return lambda value: round(start + (end - start) * math.log(value / low) / math.log(high / low), 1)


def error_of(accuracy: float) -> float:
    """The error, in percent, of an accuracy, which on a logarithmic axis is never 0."""
    return max(100 - accuracy, 0.01)


def chart(title: str, unit: str, marks: list[Mark]) -> dict:
    """Marks on the logarithms of x, in its unit, and of the errors."""
    errors = [error_of(bound) for mark in marks for bound in (mark.accuracy, *(mark.interval or []))]
    x = log_axis(0.8 * min(mark.x for mark in marks), 1.25 * max(mark.x for mark in marks), LEFT, RIGHT)
    error = log_axis(1.15 * max(errors), 0.9 * min(errors), BOTTOM, TOP)
    return {
        "title": title,
        "unit": unit,
        "marks": marks,
        "x": x,
        "y": lambda accuracy: error(error_of(accuracy)),
        "x_ticks": [power for power in POWERS if LEFT < x(power) < RIGHT],
        "y_ticks": [100 - n * power for power in POWERS for n in (1, 2, 5) if TOP < error(n * power) < BOTTOM],
    }


def charts(records: dict[str, Record], published: dict[str, Record]) -> list[dict]:
    """The chart of accuracy over parameters, and that over seconds of training; of the records on MNIST."""
    own = {name: record for name, record in records.items() if record["recipe"]["dataset"] == "mnist"}

    def marks(of: Callable[[Record], float]) -> list[Mark]:
        there = [Mark("reached", name, of(record), *reached(record)) for name, record in published.items()]
        return there + [
            Mark("own", name, of(record), record["mean"], record["mean_ci95"]) for name, record in own.items()
        ]

    claims = [
        Mark("claimed", name, record["total_parameters"], float(recipes.SYSTEMS[name]["claim"]))
        for name, record in published.items()
        if recipes.SYSTEMS[name]["claim"][0].isdigit()
    ]
    claims += [Mark("claimed", name, count, accuracy) for name, count, accuracy, _ in other_claims()]
    return [
        chart(
            "Accuracy in percent over parameters",
            "parameters",
            claims + marks(lambda record: record["total_parameters"]),
        ),
        chart("Accuracy in percent over the seconds of a training", "seconds of training", marks(standings.seconds)),
    ]


def other_claims() -> list[list]:
    """[system, parameters, accuracy, how it was picked] of those that are not trained here."""
    return [claim for claim in recipes.CLAIMS if claim[0] not in recipes.SYSTEMS]


def reached(record: Record) -> tuple[float, list[float]]:
    """The mean accuracy of a published system here, and its interval: of one run that of its images."""
    return record["mean"], record["mean_ci95"] or intervals.wilson_interval(record["mean"], IMAGES)


def standing(name: str, category: Category, records: dict[str, Record]) -> str:
    """How a record stands in its category."""
    ranked, holder = category.ranked(records), category.holder(records)
    if name not in ranked:
        return f"does not stand in it, which {holder or 'nobody'} holds"
    role = "holds it" if name == holder else "stands in it"
    if category.accuracy is not None:
        return f"{role}, with {standings.seconds(records[name]):.0f} s"
    for other in [holder, *ranked]:
        if other != name:
            low, high = standings.lead(records[name], records[other])
            return f"{role}, {(low + high) / 2:+.3f} ({low:.3f} to {high:.3f}) against {other}"
    return role


def category_of(name: str, record: Record, categories: list[Category]) -> Category | None:
    """The category that a record is entered for, else the one of the fewest parameters in which it stands, if any."""
    entered = [category for category in categories if category.entry == name]
    standing = [category for category in categories if category.counts(record)]
    return next(iter(entered + sorted(standing, key=lambda category: category.parameters)), None)


def render(drawable: set[str]) -> str:
    """The page, of the committed records; those named have a network in the demo beside it. Raises UserError for a
    damaged record."""
    records, categories = standings.records(), list(standings.categories().values())
    entries = [category.entry for category in categories if category.entry in records]
    shown = {name: category_of(name, records[name], categories) for name in [*entries, *records]}
    published = results.load_record("published")
    return TEMPLATES.get_template("records.html.jinja").render(
        records=[(name, records[name], category) for name, category in shown.items()],
        charts=charts(records, published),
        published=published,
        systems=recipes.SYSTEMS,
        claims=other_claims(),
        drawable=drawable,
        reached=reached,
        seconds=standings.seconds,
        standing=lambda name, category: standing(name, category, records),
        axes={"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM, "width": WIDTH, "height": HEIGHT},
    )
