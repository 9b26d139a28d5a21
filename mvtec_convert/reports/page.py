"""The page itself: what it says in words and numbers, and the template that it is made from."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mvtec_convert.errors import printable
from mvtec_convert.reports.cards import card_of, facets_of, layers_of, number
from mvtec_convert.reports.contents import Contents
from mvtec_convert.reports.figures import groups_of
from mvtec_convert.reports.gallery import Thumbnail
from mvtec_convert.reports.pictures import Picture
from mvtec_convert.statistics import ExportStatistics
from mvtec_convert.tables import Cell, Share, shown, unbroken

LONG_WORD = 24  # letters


class Page:
    """A page of which all is known but its images."""

    def __init__(self, contents: Contents, title: str, generator: str) -> None:
        """Draw the charts.

        Args:
            contents: of the dataset.
            title: of the page.
            generator: which tool makes it, of which version.
        """
        script = _asset("page.js")
        self._facets = facets_of(contents)
        self._values = {
            "title": printable(title),
            "generator": generator,
            "script": Markup(script),
            "script_hash": _hash(script),
            "style": Markup(_asset("page.css")),
            "contents": contents,
            "tiles": _tiles(contents),
            "sentences": contents.statistics.sentences(),
            "tables": contents.statistics.tables(),
            "findings": _findings(contents),
            "groups": groups_of(contents),
            "facets": self._facets,
        }

    def html(self, chosen: Sequence[Picture], thumbnails: Mapping[str, Thumbnail]) -> str:
        """The page.

        Args:
            chosen: the pictures to show.
            thumbnails: by the key of the picture; one without has an image that cannot be read.
        """
        cards = [card_of(picture, thumbnails.get(picture.key), self._facets) for picture in chosen]
        return _templates().get_template("page.html").render(self._values, cards=cards, layers=layers_of(cards))


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("mvtec_convert.reports", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "cell": _cell,
        "folding": _folding,
        "number": number,
        "plain": lambda value: number(value).replace(",", ""),
        "printable": printable,
        "share": lambda value: shown(Share(value)),
    }
    return templates


def _cell(cell: Cell) -> str:
    return unbroken(shown(cell))


def _folding(text: str) -> str:
    """The class of a cell that must run over several lines, lest the table be wider than the page."""
    if max(map(len, text.split()), default=0) > LONG_WORD:
        return "long"
    return "several" if ", " in text else ""


def _asset(name: str) -> str:
    return (files("mvtec_convert.reports") / "template" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What a Content-Security-Policy names a script by (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _tiles(contents: Contents) -> list[tuple[str, int]]:
    """What there is, and how much of it."""
    pictures, words = contents.pictures, contents.words
    labelled = [picture for picture in pictures if picture.is_labelled]
    others = sorted({name for picture in pictures if not picture.is_labelled for name in picture.types})
    if isinstance(contents.statistics, ExportStatistics):
        classes = {*contents.statistics.class_names}  # those that no image shows, and good where it is one, too
    else:
        classes = {contents.class_name(picture, name) for picture in labelled for name in picture.types}
    counts = {
        "images": len(pictures),
        words.labelled: len(labelled),
        " or ".join(others): len(pictures) - len(labelled),
        "regions": sum(len(picture.shapes) for picture in pictures),
        "categories": len(contents.categories),
        words.types: len(classes),
    }
    return [(name, count) for name, count in counts.items() if count > (name == "categories")]


def _findings(contents: Contents) -> list[str]:
    """What could not be read; paths as they are in the dataset, wherever it lies."""
    root = Path(contents.statistics.root)
    found = []
    for finding in contents.statistics.findings:
        path = Path(finding.path)
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        found.append(printable(f"{inside}: {finding.message}"))
    return found
