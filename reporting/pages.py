"""Pages of HTML: their templates, and the pictures in them. A page opens offline, and has every plot for light and for
dark screens."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from reporting import plots


def page(name: str) -> jinja2.Template:
    """A page's template."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, loader=loader).get_template(name)


def picture(caption: str, plot: Callable, *content: Any) -> dict[str, str]:
    """A plot for the template, as data: URLs for light and for dark screens, with its caption."""

    def url(dark: bool) -> str:
        return f"data:image/png;base64,{base64.b64encode(plots.render(plot, *content, dark=dark)).decode()}"

    return {"caption": caption, "light": url(dark=False), "dark": url(dark=True)}
