"""Settings: the fields of a dataclass as flags of a command line, and as keys of a config file."""

import argparse
import dataclasses
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support import UserError

PARSERS = {".json": json.loads, ".toml": tomllib.loads}


def validate_seed(seed: Any) -> None:
    """Raise UserError for a seed that torch would not take."""
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise UserError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")


def add_flags(parser: argparse.ArgumentParser, title: str, fields: Iterable[dataclasses.Field]) -> None:
    """Give a parser a flag for every field; its value is None where the flag is not given."""
    group = parser.add_argument_group(title)
    for field in fields:
        kind = {bool: boolean, float: number}.get(field.type, field.type)
        choices = ("true", "false") if field.type is bool else field.metadata["choices"]
        limits = f"{{{','.join(choices)}}}" if choices else field.type.__name__.upper()
        text = f"{field.metadata['help']} (default: {format_value(field.default)})"
        group.add_argument(f"--{field.name.replace('_', '-')}", type=kind, metavar=limits, help=text)


def number(text: str) -> float:
    """The value of a flag that takes a number: whole ones stay whole."""
    return int(text) if text.strip().isdigit() else float(text)


def boolean(text: str) -> bool:
    """The value of a yes-or-no flag."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def format_value(value: Any) -> str:
    """A setting's value in a name, a table or a flag, a number without needless digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def load_config(path: Path) -> dict[str, Any]:
    """{key: value} of a JSON or TOML file. Raises UserError for another file."""
    if path.suffix not in PARSERS:
        raise UserError(f"{path} must end in .json or .toml")
    try:
        config = PARSERS[path.suffix](path.read_text(encoding="utf-8-sig"))  # some editors begin with its mark
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid {path.suffix[1:].upper()} ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold keys and values, got {config!r}")
    return config
