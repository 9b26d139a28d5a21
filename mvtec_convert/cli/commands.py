"""What all commands have in common: how they show their flags, and how they stand in the list of commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


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


def register(app: typer.Typer, panels: Mapping[str, Sequence[ModuleType]]) -> None:
    """Add the commands of some modules, under headings by which a newcomer finds them."""
    for panel, modules in panels.items():
        for module in modules:
            before = len(app.registered_commands)
            module.register(app)
            for command in app.registered_commands[before:]:
                command.rich_help_panel = panel
                if not issubclass(command.cls or TyperCommand, Command):
                    command.cls = Command
