"""docs/commands.md says what the commands say."""

from __future__ import annotations

import re

from mvtec_convert.cli.app import make_app, run
from tests.command_reference import COMMAND, PAGE, page


def test_the_command_reference_is_not_stale():
    assert PAGE.read_text(encoding="utf-8") == page(), f"docs/commands.md is stale; write it anew by `{COMMAND}`"


def test_every_flag_that_the_help_shows_is_there_and_no_other(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    sections = re.split(r"^## ", page(), flags=re.MULTILINE)[1:-1]
    for command, section in zip(make_app().registered_commands, sections, strict=True):
        assert section.startswith(f"{command.name}\n")
        run([command.name, "--help"])
        # Where the help begins a row, a flag is declared; elsewhere it is spoken of.
        printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        assert "bool" not in printed.lower(), command.name  # a flag takes no value
        shown = "\n".join(re.findall(r"^│ [* ]*((?:-[\w-]+[, ]*)+)", printed, flags=re.MULTILINE))
        flags = set(re.findall(r"--?[a-z][\w-]*", shown)) - {"--help", "-h"}
        listed = "\n".join(re.findall(r"^- ((?:`-[\w-]+`[, ]*)+)", section, flags=re.MULTILINE))
        assert set(re.findall(r"--?[a-z][\w-]*", listed)) == flags, command.name
