"""Pages of HTML, made of pieces that stand in a file beside the code; base.html is their frame."""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template

from checks.report.model import clean

BASE = Path(__file__).with_name("base.html")
LOADS_NOTHING = "default-src 'none';"  # what base.html allows; a page that runs a script of ours adds to it


class Markup(str):
    """Text that is HTML already; every other text is escaped on its way into the page."""


class Pieces:
    """The pieces of one kind of page: a title, a style, the page, and whatever stands in it."""

    def __init__(self, file: Path):
        self.pieces = _in(BASE) | _in(file)

    def fill(self, piece: str, **values) -> Markup:
        """A piece with these values in it."""
        escaped = {
            name: text if isinstance(text, Markup) else escape(str(text)) for name, text in values.items()
        }
        return Markup(self.pieces[piece].substitute(escaped))

    def fill_cleaned(self, piece: str, **values) -> Markup:
        """The same; all that is no markup is cleaned before."""
        cleaned = {
            name: text if isinstance(text, Markup) else clean(str(text)) for name, text in values.items()
        }
        return self.fill(piece, **cleaned)

    def section(self, piece: str, items: Iterable[Markup], **values) -> Markup:
        """A piece around these items; nothing where there are none."""
        items = join(items)
        return self.fill_cleaned(piece, items=items, **values) if items else Markup("")

    def page(self, title: str, **values) -> Markup:
        """The whole page; it loads nothing and runs nothing."""
        return self.fill("base", title=title, style=self.fill("style"), body=self.fill("page", **values))


def _in(file: Path) -> dict[str, Template]:
    pieces = file.read_text(encoding="utf-8").split("<!-- piece: ")[1:]
    return {name: Template(text) for name, text in (piece.split(" -->\n", 1) for piece in pieces)}


def running(html: Markup, script: Markup) -> Markup:
    """The page, which may run this script of its own and no other."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Markup(html.replace(LOADS_NOTHING, f"{LOADS_NOTHING} script-src 'sha256-{digest}';", 1))


def join(pieces: Iterable[Markup]) -> Markup:
    """Pieces one after the other."""
    return Markup("".join(pieces))
