"""What all commands have in common: how they show their flags, and how they stand in the list of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeAlias

import typer
from typer.core import TyperCommand, TyperGroup

Callback: TypeAlias = Callable[..., Any]


class Command(TyperCommand):
    """A command whose help shows flags as they are written: they take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, `--help` among them."""
        return _without_type(super().get_params(ctx))


class Group(TyperGroup):
    """The same for what is written before a command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """See `Command`."""
        return _without_type(super().get_params(ctx))


def _without_type(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""  # else Typer would write `--markdown <bool>`
    return parameters


def register(
    app: typer.Typer, panel: str, modules: Iterable[ModuleType], prepare: Callable[[Callback], Callback]
) -> None:
    """Add the commands of some modules under a heading, each function as `prepare` makes it ready."""
    for module in modules:
        before = len(app.registered_commands)
        module.register(app)
        for command in app.registered_commands[before:]:
            command.rich_help_panel = panel
            command.callback = prepare(command.callback) if command.callback else None
            if not issubclass(command.cls or TyperCommand, Command):
                command.cls = Command


def only_named(command: Callback) -> Callback:
    """What stands for a command in a list of them."""

    def listed() -> None:
        raise NotImplementedError(f"{command.__name__} is only listed")

    listed.__name__, listed.__doc__ = command.__name__, command.__doc__
    return listed
