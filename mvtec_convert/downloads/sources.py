"""Published datasets: where each is fetched from, under which licence, how to cite it. The data is `sources.json`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from mvtec_convert.errors import SelectionError


@dataclass(frozen=True, slots=True)
class Licence:
    """What a dataset may be used for.

    Attributes:
        name: short ("CC BY 4.0").
        url: its full text.
        meaning: in one line.
    """

    name: str
    url: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Archive:
    """One file to fetch.

    Attributes:
        url: http or https.
        sha256: 64 hexadecimal digits, lower case; None where none is known.
        size: bytes; None where it is not known.
    """

    url: str
    sha256: str | None = None
    size: int | None = None

    @property
    def file_name(self) -> str:
        """What the publisher calls the file."""
        return PurePosixPath(urlsplit(self.url).path).name or "archive"


@dataclass(frozen=True, slots=True)
class Source:
    """One published dataset.

    Attributes:
        key: what the command line calls it.
        title: what its authors call it.
        layout: name of the module that reads it, whether this version has that module or not.
        folder: what its folder is called by default.
        page: where its publisher describes it.
        licence: what it may be used for.
        citation: what its authors want to be cited.
        expansion: bytes unpacked for each byte of archive, estimated on the safe side.
        archive: all of it.
        categories: for each category its own archive, None where the publisher offers none.
    """

    key: str
    title: str
    layout: str
    folder: str
    page: str
    licence: Licence
    citation: str
    expansion: float
    archive: Archive
    categories: Mapping[str, Archive | None]


@cache
def sources() -> Mapping[str, Source]:
    """All published datasets by key."""
    text = files("mvtec_convert.downloads").joinpath("sources.json").read_text(encoding="utf-8")
    return {key: _source(key, facts) for key, facts in json.loads(text)["datasets"].items()}


def source_named(key: str) -> Source:
    """One published dataset.

    Raises:
        SelectionError: there is none of that key.
    """
    check_known("dataset", key, sources())
    return sources()[key]


def check_known(what: str, name: str, known: Mapping[str, object]) -> None:
    """Refuse a name that is not among `known`, and offer the nearest.

    Raises:
        SelectionError: it is not.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise SelectionError(
            f"no {what} {name!r} to fetch; there are: {', '.join(known)}",
            hint=f"did you mean {near[0]!r}?" if near else None,
        )


def _source(key: str, facts: dict[str, Any]) -> Source:
    return Source(
        key=key,
        title=facts["title"],
        layout=facts["layout"],
        folder=facts["folder"],
        page=facts["page"],
        licence=Licence(**facts["licence"]),
        citation=facts["citation"],
        expansion=facts["expansion"],
        archive=Archive(**facts["archive"]),
        categories={name: own and Archive(**own) for name, own in facts["categories"].items()},
    )
