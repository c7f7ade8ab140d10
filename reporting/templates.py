"""The templates of pages.

TEMPLATES.get_template("report.html.jinja").render(...)
"""

from pathlib import Path

from support.settings import format_value

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent
TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
TEMPLATES.filters["shown"] = format_value
