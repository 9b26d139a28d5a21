"""docs/commands.md, made from what the commands themselves declare.

Written by `python -m tests.command_reference`. It reads the declarations, not the printed help, whose form is that of
the installed Typer and of the terminal.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from mvtec_convert.cli.app import make_app

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
COMMAND = "python -m tests.command_reference"

HEAD = f"""# All commands

Every flag of every command, as `mvtec-convert COMMAND --help` tells them. The page is made by
`{COMMAND}`; a test fails when it says something else than the commands.
"""

ENDS = """## Exit codes

0: done. 1: something was found (`check`, `validate`). 2: the input was wrong, and the message says what to do. 70: a
bug of this tool. 130: interrupted, and nothing was changed.
"""

NOTHING = (None, False, inspect.Parameter.empty)

WORDS = {int: "N", float: "X", Path: "PATH", str: "TEXT"}


def page() -> str:
    """The whole page."""
    registered = make_app().registered_commands
    commands = {each.name: inspect.unwrap(each.callback) for each in registered}
    panels: dict[str, list[str]] = {}
    for each in registered:
        line = f"- [`{each.name}`](#{each.name}): {_first_sentence(commands[each.name])}"
        panels.setdefault(str(each.rich_help_panel), []).append(line)
    contents = "\n\n".join("\n".join([f"{panel}:", "", *lines]) for panel, lines in panels.items())
    return "\n".join([HEAD, contents, "", *(_command(name, each) for name, each in commands.items()), ENDS])


def _first_sentence(function: Any) -> str:
    return inspect.cleandoc(function.__doc__).split("\n\n")[0].replace("\n", " ")


def _command(name: str, function: Any) -> str:
    parameters = list(_parameters(function))
    arguments = [(metavar, text) for info, metavar, text in parameters if isinstance(info, ArgumentInfo)]
    panels: dict[str, list[str]] = {"": [f"- {metavar}: {text}" for metavar, text in arguments]}
    for info, spelled, text in parameters:
        if isinstance(info, OptionInfo):
            panels.setdefault(info.rich_help_panel or "", []).append(f"- {spelled}: {text}")
    usage = " ".join(["mvtec-convert", name, *(metavar.strip("`") for metavar, _ in arguments), "[OPTIONS]"])
    lists = ("\n".join([*([f"{title}:", ""] if title else []), *rows]) for title, rows in panels.items() if rows)
    return "\n\n".join([f"## {name}", inspect.cleandoc(function.__doc__), f"    {usage}", *lists]) + "\n"


def _parameters(function: Any) -> Iterator[tuple[ArgumentInfo | OptionInfo, str, str]]:
    """(declaration, how it is written, what it means) of each parameter."""
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        hint, default = parameter.annotation, parameter.default
        info, kind = hint.__metadata__[0], _kind(hint.__origin__)
        if getattr(info, "hidden", False):
            continue
        text = f"{_sentence(info.help)}{_limits(info, _default(info, default))}"
        if isinstance(info, ArgumentInfo):
            metavar = info.metavar or parameter.name.upper()
            yield info, f"`{metavar}`" if default is inspect.Parameter.empty else f"`[{metavar}]`", text
        else:
            yield info, _spelled(info, parameter.name, kind), text


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _kind(hint: Any) -> Any:
    """What one value is: `list[str] | None` is about strings."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) in (list, tuple):
        hint = get_args(hint)[0]
    return hint


def _spelled(info: OptionInfo, name: str, kind: Any) -> str:
    dashed = name.replace("_", "-")
    # Where Typer finds an option in `Annotated`, its first spelling lies where a default would.
    spellings = [*([info.default] if isinstance(info.default, str) else []), *(info.param_decls or ())]
    spellings = spellings or ([f"--{dashed}", f"--no-{dashed}"] if kind is bool else [f"--{dashed}"])
    written = ", ".join(f"`{spelling}`" for spelling in spellings)
    if kind is bool:
        return written
    choices = "|".join(map(str, get_args(kind))) if get_origin(kind) is Literal else None
    return f"{written} `{info.metavar or choices or WORDS[kind]}`"


def _default(info: ArgumentInfo | OptionInfo, default: Any) -> str:
    if isinstance(info.show_default, str):
        return info.show_default
    is_told = info.show_default and not any(default is nothing for nothing in NOTHING)
    return str(default) if is_told else ""


def _limits(info: ArgumentInfo | OptionInfo, default: str) -> str:
    low, high = info.min, info.max
    told = f"{low} to {high}" if None not in (low, high) else f"from {low}" if low is not None else ""
    parts = [*([told] if told else []), *([f"default {default}"] if default else [])]
    return f" ({'; '.join(parts)})" if parts else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
