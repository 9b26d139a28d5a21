"""pydantic models of the files on disk; one module a format. They describe files and nothing else.

`json_schema(name)` gives a format's JSON Schema; the folder `schemas/` of the repository holds them all, generated.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from mvtec_convert.errors import SelectionError

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def names() -> tuple[str, ...]:
    """The names of all schemas: the modules of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) called `name`.

    Raises:
        SelectionError: there is none of that name.
    """
    if name not in names():
        raise SelectionError(f"no schema {name!r}; there are: {', '.join(names())}")
    model = cast(type[BaseModel], importlib.import_module(f"{__name__}.{name}").ROOT)
    return {"$schema": DIALECT, **model.model_json_schema()}


def problems(error: ValidationError) -> list[str]:
    """What pydantic found, one sentence each: `bbox[3]: Input should be greater than 0`."""
    return [
        f"{_place(problem['loc'])}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    ]


def _place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".") or "document"
