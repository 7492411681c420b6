"""The page of a report: one HTML file that needs no network, no server and no other file."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FILES = Path(__file__).parent / "page_files"
SCRIPTS = ("uPlot.min.js", "network.js", "preparation.js", "charts.js", "pad.js", "page.js")
STYLES = ("uPlot.min.css", "page.css")


def render_page(content: Mapping[str, Any]) -> str:
    """The HTML of `experiment.page_content`'s content.

    Texts of runs are data, never markup: the template escapes them, and the scripts set them as text. If something got
    through all the same, the Content-Security-Policy lets no script run but the page's own, by their hashes, and no
    request leave; but `live` pages ask their own server what has changed.
    """
    script = "\n".join((FILES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = "\n".join((FILES / name).read_text(encoding="utf-8") for name in STYLES)
    environment = Environment(
        loader=FileSystemLoader(FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        content=content,
        script=Markup(script),  # files of this package
        style=Markup(style),
        policy=f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; "
        f"connect-src '{'self' if content.get('live') else 'none'}'; "
        "base-uri 'none'; form-action 'none'",
        data=_embedded(content),
    )


def _hash_of(text: str) -> str:
    """A source expression of CSP: W3C, Content Security Policy Level 3, section 2.3.1."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embedded(content: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the <script> element it stands in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 is escaped
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
