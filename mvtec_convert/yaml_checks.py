"""YAML files under check. In a file of its own, since formats without YAML need not load it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mvtec_convert.checks import PROBLEMS_TOLD
from mvtec_convert.errors import ExportError
from mvtec_convert.findings import Finding, Severity
from mvtec_convert.jsonio import read_bytes

MOST_YAML = 1 << 20
"""Bytes of a YAML file, which takes seconds to parse; ten thousand classes take a quarter of them."""


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A YAML file under check; see `checks.JsonFile`."""

    path: Path
    text: str
    document: Any
    hint: str

    def finding(self, code: str, message: str, key: str, severity: Severity = "error", hint: str = "") -> Finding:
        """A finding about a top-level key."""
        at = re.search(rf"^[\"']?{re.escape(key)}[\"']?\s*:", self.text, re.MULTILINE)
        line = None if at is None else self.text.count("\n", 0, at.start()) + 1
        return Finding(code, message, str(self.path), line, severity, hint or self.hint)

    def schema_findings(self, sentences: Sequence[str]) -> Iterator[Finding]:
        """What pydantic has to say about the file."""
        for sentence in sentences[:PROBLEMS_TOLD]:
            yield self.finding("schema", sentence, re.split(r"\W", sentence)[0])


class _Loader(yaml.SafeLoader):
    """Without merge keys (`<<`): a few lines of them can stand for billions of entries. Texts are Unicode.

    PyYAML's own parser, in Python: the one in C is quicker, and crashes on a hundred kB of brackets.
    """

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise yaml.constructor.ConstructorError(None, None, "half of a surrogate pair", node.start_mark)
        return value

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merge keys (<<) are not read", node.start_mark)


def open_yaml(path: Path, hint: str) -> YamlFile | Finding:
    """The file, or why it cannot be read."""
    try:
        text = read_bytes(path, MOST_YAML).decode("utf-8-sig")
        return YamlFile(path, text, yaml.load(text, _Loader), hint)
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        return Finding("bad-yaml", f"not YAML: {error.problem or error.context}", str(path), line, hint=hint)
    except Exception as error:  # PyYAML raises nearly anything on odd numbers, dates and tags
        reason = error.reason if isinstance(error, ExportError) else f"cannot be read: {error}"
        return Finding("bad-yaml", reason, str(path), hint=hint)
