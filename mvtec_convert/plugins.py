"""Formats and layouts of installed packages, found by their entry points.

One that cannot be loaded is known by its package and by what is wrong with it. It harms nobody who does not ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import TracebackType
from typing import Any, TypeVar

from mvtec_convert.errors import PluginError, SelectionError

FORMATS, LAYOUTS = "mvtec_convert.formats", "mvtec_convert.layouts"
"""The groups of entry points."""

Offered = TypeVar("Offered")
"""A format or a layout."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a package offers.

    Attributes:
        name: by which it is asked for.
        package: the installed package.
        value: the object that its entry point names; None where it cannot be used.
        problem: why it cannot be used; None where it can.
    """

    name: str
    package: str
    value: Any
    problem: str | None = None

    def error(self, what: str, problem: str | None = None) -> PluginError:
        """For one that was asked for, and fails; `what` is "format" or "layout"."""
        reason = f"the {what} {self.name!r} of the package {self.package} fails: {problem or self.problem}"
        hint = f"that is for the package's authors to mend; without it: pip uninstall {self.package}"
        return PluginError(reason, hint=hint)


@cache
def plugins(group: str, needed: tuple[str, ...]) -> dict[str, Plugin]:
    """What installed packages offer, by name; of two of one name the package that comes first in the alphabet.

    Looked up once: to look through all installed packages takes longer than many a command.

    Args:
        group: `FORMATS` or `LAYOUTS`.
        needed: what each must have; one that lacks some cannot be used.
    """
    points = sorted(entry_points(group=group), key=lambda point: (point.name, _package(point)))
    found: dict[str, Plugin] = {}
    for point in points:
        if point.name not in found:
            found[point.name] = _loaded(point, needed)
    return found


def named(what: str, name: str, known: Mapping[str, Offered], offered: Mapping[str, Plugin]) -> Offered:
    """One of the formats, or of the layouts.

    Args:
        what: "format" or "layout".
        name: of the one that is asked for.
        known: all that can be used.
        offered: those of installed packages; the ones that cannot be used among them.

    Raises:
        SelectionError: there is none of that name.
        PluginError: an installed package has it, but it cannot be used.
    """
    if name in known:
        return known[name]
    if name in offered:
        raise offered[name].error(what)
    raise SelectionError(f"no {what} {name!r}; there are: {', '.join(sorted(known))}")


def _loaded(point: EntryPoint, needed: tuple[str, ...]) -> Plugin:
    try:
        value = point.load()
    except Exception as error:  # a stranger's module may raise anything
        return Plugin(point.name, _package(point), None, described(error))
    lacking = [name for name in needed if not hasattr(value, name)]
    problem = f"it lacks {', '.join(lacking)}" if lacking else None
    return Plugin(point.name, _package(point), None if lacking else value, problem)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


def described(error: BaseException) -> str:
    """An exception on one line, for a message."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def blamed(error: BaseException) -> str | None:
    """The package whose plug-in an exception went through, or None: then it is this tool's own."""
    modules = set(_modules(error.__traceback__))
    points = [*entry_points(group=FORMATS), *entry_points(group=LAYOUTS)]
    return next((_package(point) for point in points if point.module.partition(".")[0] in modules), None)


def _modules(trace: TracebackType | None) -> Iterator[str]:
    """The outermost package of each module that an exception went through."""
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        trace = trace.tb_next
