"""Whether documents fit the JSON Schemas that the package publishes; tests/test_schemas.py checks these themselves."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from mvtec_convert.schemas import json_schema


def fits(document: Any, name: str) -> None:
    """Raise jsonschema's ValidationError where the document does not fit the schema of this name."""
    _validator(name).validate(document)


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json_schema(name))
