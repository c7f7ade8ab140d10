"""A rule: its name, what was measured, and whether that is enough."""

import dataclasses
import sys


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule, what was measured, and whether that is enough."""

    name: str
    measured: str
    passed: bool


def mark(passed: bool) -> str:
    """✓ or ✗, or words for them where the output cannot encode those."""
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "ok  " if passed else "FAIL"
    return "✓" if passed else "✗"


def format_rules(rules: list[Rule]) -> str:
    """A line for each rule, with its mark."""
    width = max(len(rule.name) for rule in rules)
    return "\n".join(f"{mark(rule.passed)} {rule.name:{width}}  {rule.measured}" for rule in rules)


def below(name: str, value: float, limit: int) -> Rule:
    """The rule that a number stays below a limit."""
    return Rule(name, f"{value:,} {'<' if value < limit else '≥'} {limit:,}", value < limit)


def at_least(name: str, value: float, bound: float, more: str = "") -> Rule:
    """The rule that a percentage reaches a bound."""
    return Rule(name, f"{value:.2f} % {'≥' if value >= bound else '<'} {bound:g} %{more}", value >= bound)
