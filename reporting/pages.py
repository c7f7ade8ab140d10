"""Pages of HTML: their templates, and the plots in them. A page opens offline: all that it shows is in it.

page("report.html.jinja").render(...)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from reporting import drawing

FOLDER = Path(__file__).parent  # of the templates


def page(name: str) -> jinja2.Template:
    """A page's template."""
    settings = {"autoescape": True, "undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), **settings).get_template(name)


def picture(caption: str, plot: Callable, *content: Any) -> dict[str, str]:
    """A plot for the template, with its caption, which no other plot of the page has."""
    return {"caption": caption, "svg": drawing.svg(caption, plot, *content)}
