"""Ties the commands together, and turns errors into messages and exit codes.

Exit codes: 0 done, 1 findings, 2 the user's input, 70 a bug of this tool, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

import mvtec_convert
from mvtec_convert.cli import commands
from mvtec_convert.cli.options import spelled_out
from mvtec_convert.errors import MORE_FILES, MvtecConvertError

BUG, INTERRUPTED, USER_INPUT = 70, 130, 2
DEBUG_VARIABLE = "MVTEC_CONVERT_DEBUG"

PANELS = {
    "Convert": ("yolo", "coco", "sam", "labelme", "voc", "export", "masks"),
    "See what is there": ("stats", "report", "preview"),
    "Find what is wrong": ("check", "validate"),
    "Get data, look things up": ("download", "sample", "layouts", "schema"),
}
"""The modules of commands, under headings by which a newcomer finds them. Most hold one command, called as they are."""

ONLY_LISTED = ("-h", "--help", "--version")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mvtec-convert {mvtec_convert.__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn an inspection dataset in MVTec AD's layout into what YOLO, COCO and SAM trainers read: exactly, and proven.

    Try it without any data: `mvtec-convert yolo --sample`
    """


def make_app(only: str | None = None, *, listed: bool = False) -> typer.Typer:
    """The commands for Typer.

    Args:
        only: a module of commands; None: all.
        listed: names and help alone, without what the commands do, and without their flags.
    """
    app = typer.Typer(
        cls=commands.Group,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_main)
    for panel, names in PANELS.items():
        modules = (import_module(f"mvtec_convert.cli.{name}") for name in names if only in (None, name))
        commands.register(app, panel, modules, commands.only_named if listed else spelled_out)
    return app


def _app_for(arguments: Sequence[str]) -> typer.Typer:
    """No more than this command line needs: to spell the flags of all commands out takes longer than many a command."""
    first = arguments[0] if arguments else ONLY_LISTED[0]
    if first in ONLY_LISTED:
        return make_app(listed=True)
    known = {name for names in PANELS.values() for name in names}
    return make_app(first if first in known else None)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    # OpenCV and Pillow warn of what this tool judges itself: large images, damaged data.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # NumPy's library for matrices, which nothing here needs, would start threads that wait in loops for work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit|Corrupt EXIF data|Truncated File Read")
    try:
        _app_for(arguments)(args=list(arguments), prog_name="mvtec-convert")
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # Typer's own answer to Ctrl-C
            print("Interrupted; nothing was changed.", file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except MvtecConvertError as error:
        from mvtec_convert.cli import console

        console.show_error(error)
        return USER_INPUT
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); a second complaint at exit would follow without this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        return _out_of_handles() if _is_out_of_handles() else _broken_installation(error)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        if _is_out_of_handles():
            return _out_of_handles()
        from mvtec_convert.plugins import blamed, described

        package = blamed(error)
        if package is not None:
            print(f"error: the installed package {package} fails: {described(error)}", file=sys.stderr)
            print(f" hint: that is for its authors to mend; without it: pip uninstall {package}", file=sys.stderr)
            return USER_INPUT
        print(f"This is a bug in mvtec-convert: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"Please report it with what you ran; {DEBUG_VARIABLE}=1 shows where it happened.", file=sys.stderr)
        return BUG
    return 0


def _out_of_handles() -> int:
    """Nothing more can be loaded then, and many an error is only what follows from it."""
    print(f"error: too many open files\n hint: {MORE_FILES}", file=sys.stderr)
    return USER_INPUT


def _is_out_of_handles() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _broken_installation(error: ImportError) -> int:
    print(f"error: a library cannot be loaded: {error}", file=sys.stderr)
    if "libGL" in str(error) or "libgthread" in str(error) or "libxcb" in str(error):
        hint = "OpenCV wants a system library; on Debian and Ubuntu: apt install libgl1 libglib2.0-0"
    else:
        hint = "install again: pip install --force-reinstall mvtec-convert"
    print(f" hint: {hint}", file=sys.stderr)
    return USER_INPUT
