"""Licences of datasets: shown and accepted once each, remembered in the user's data folder."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import orjson

from mvtec_convert.cli import console
from mvtec_convert.downloads.sources import Source
from mvtec_convert.errors import DownloadError
from mvtec_convert.opening import read_text

MOST_BYTES = 1 << 20
"""Of the file that remembers what was accepted."""


def ask_once(source: Source, accept: bool) -> None:
    """Go on only if the licence of a dataset is accepted: by a flag, by an earlier run, or by a person who is asked.

    Raises:
        DownloadError: it is not, or there is nobody to ask.
    """
    accepted = _load()
    if accepted.get(source.key) == source.licence.url:
        return
    console.show_licence(source)
    if not accept and not console.agrees("Do you accept this licence?"):
        raise DownloadError(
            f"the licence of {source.title} has not been accepted",
            hint="read it, then run the same with --accept-licence",
        )
    _save({**accepted, source.key: source.licence.url})


def _file() -> Path:
    from platformdirs import user_data_path

    return user_data_path("mvtec-convert") / "licences.json"


def _load() -> dict[str, str]:
    """URL of the licence that was accepted, by dataset. A file that cannot be read means that none was."""
    with suppress(OSError, ValueError):
        accepted = orjson.loads(read_text(_file(), MOST_BYTES))
        if isinstance(accepted, dict):
            return accepted
    return {}


def _save(accepted: dict[str, str]) -> None:
    with suppress(OSError):  # then the next run asks again
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text(json.dumps(accepted, indent=2) + "\n", encoding="utf-8")
