"""Phrases: what to ask a model for when it is prompted with words. The vocabulary is `phrases.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from mvtec_convert.errors import ExportError, SelectionError
from mvtec_convert.jsonio import load_json
from mvtec_convert.labels import Label

TEMPLATE = "{defect} on {category}"
"""For defects that the vocabulary does not know."""

FORM = '{"template": "{defect} on {category}", "phrases": {"CATEGORY": {"DEFECT": ["phrase", "synonym"]}}}'


@dataclass(frozen=True, slots=True)
class Phrases:
    """A vocabulary.

    Attributes:
        known: phrases by category and defect type, the one to ask for first, then synonyms.
        template: makes a phrase of any other pair.
    """

    known: Mapping[str, Mapping[str, tuple[str, ...]]]
    template: str = TEMPLATE

    def of(self, category: str, defect_type: str) -> tuple[str, ...]:
        """The phrases of one defect type of one category: at least one, the one to ask for first."""
        known = self.known.get(category, {}).get(defect_type)
        return known or (_filled(self.template, defect=words(defect_type), category=words(category)),)

    def of_class(self, label: Label) -> tuple[str, ...]:
        """The phrases of a class: of its one member, or its own name and what its members are asked for."""
        if len(label.members) == 1:
            return self.of(*label.members[0])
        return tuple(dict.fromkeys([words(label.name), *(self.of(*member)[0] for member in label.members)]))


@cache
def built_in() -> Phrases:
    """The vocabulary of all 73 defect types of MVTec AD."""
    with as_file(files("mvtec_convert").joinpath("phrases.json")) as path:
        return _parsed(load_json(path), path)


def load_phrases(path: Path | None) -> Phrases:
    """The built-in vocabulary with the phrases of a file put over it; alone where `path` is None.

    Raises:
        SelectionError: the file cannot be read, or a phrase holds what no prompt may: a `/`, which detectors take for
            "or", an underscore, a control character, or nothing.
    """
    if path is None:
        return built_in()
    try:
        own = _parsed(load_json(path), path)
    except ExportError as error:
        raise SelectionError(error.reason, path=path, hint=f"its form is {FORM}") from None
    known = {category: dict(types) for category, types in built_in().known.items()}
    for category, types in own.known.items():
        known.setdefault(category, {}).update(types)
    return Phrases(known, own.template)


def words(name: str) -> str:
    """A folder's name as words: `metal_contamination` is "metal contamination"."""
    return " ".join(name.replace("_", " ").replace("/", " ").split()) or name


def _filled(template: str, **values: str) -> str:
    """The template with its placeholders filled. Not `str.format`: that obeys a file, `{defect:>9999999999}` too."""
    return re.sub(r"\{(defect|category)\}", lambda match: values[match[1]], template)


def _parsed(document: object, path: Path) -> Phrases:
    hint = f"its form is {FORM}"
    if not isinstance(document, dict) or not isinstance(document.get("phrases", {}), dict):
        raise SelectionError("not a file of phrases", path=path, hint=hint)
    template = document.get("template", TEMPLATE)
    example = _filled(str(template), defect="a", category="b")
    if "{" in example or "}" in example:
        message = f"the template {template!r} may hold {{defect}} and {{category}} alone"
        raise SelectionError(message, path=path, hint=hint)
    _checked([example], "template", path)
    known = {}
    for category, types in document.get("phrases", {}).items():
        if not isinstance(types, dict):
            raise SelectionError(f"{category}: not an object of defect types", path=path, hint=hint)
        known[category] = {defect: _checked(given, f"{category}/{defect}", path) for defect, given in types.items()}
    return Phrases(known, str(template))


def _checked(given: object, place: str, path: Path) -> tuple[str, ...]:
    phrases = [given] if isinstance(given, str) else given
    if not isinstance(phrases, list) or not phrases or not all(isinstance(phrase, str) for phrase in phrases):
        raise SelectionError(f"{place}: not a phrase or a list of phrases", path=path, hint=f"its form is {FORM}")
    for phrase in phrases:
        if not phrase.strip() or not phrase.isprintable() or "/" in phrase or "_" in phrase:
            raise SelectionError(f"{place}: {phrase!r} is no phrase", path=path, hint="use plain words, no / and no _")
    return tuple(" ".join(phrase.split()) for phrase in phrases)
