"""The phrases for MVTec AD's defect types: complete, and in the form that text encoders and label files take."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

PHRASE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*(?: [a-z0-9]+(?:-[a-z0-9]+)*){1,5}")
"""2 to 6 words with one space between them."""

BRITISH = re.compile(r"\b\S*(?:colour|grey|fibre|mould|aluminium)")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key that is written twice would otherwise be lost without a word."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    assert not twice
    return dict(pairs)


def read(name: str) -> Any:
    text = files("mvtec_convert").joinpath(name).read_text(encoding="utf-8")
    return json.loads(text, object_pairs_hook=unique_keys)


FILE: dict[str, Any] = read("phrases.json")
PAIRS: dict[tuple[str, str], list[str]] = {
    (category, defect): phrases for category, defects in FILE["phrases"].items() for defect, phrases in defects.items()
}
each_pair = pytest.mark.parametrize("pair", PAIRS, ids="-".join)


def test_the_file_says_what_it_is() -> None:
    assert list(FILE) == ["about", "phrases"]
    assert FILE["about"]


def test_all_published_pairs_and_no_other() -> None:
    published = read("published_mvtec_ad.json")["categories"]
    expected = {(category, defect) for category, facts in published.items() for defect in facts["defect_types"]}
    assert len(expected) == 73
    assert PAIRS.keys() == expected


def test_keys_are_sorted() -> None:
    assert list(PAIRS) == sorted(PAIRS)


@each_pair
def test_a_phrase_and_two_to_four_synonyms(pair: tuple[str, str]) -> None:
    assert 1 + 2 <= len(PAIRS[pair]) <= 1 + 4


@each_pair
def test_form_of_each_phrase(pair: tuple[str, str]) -> None:
    assert [phrase for phrase in PAIRS[pair] if not PHRASE.fullmatch(phrase) or BRITISH.search(phrase)] == []


@each_pair
def test_first_phrase_names_the_object(pair: tuple[str, str]) -> None:
    category, _ = pair
    assert f" {category.replace('_', ' ')} " in f" {PAIRS[pair][0]} "


def test_no_phrase_twice() -> None:
    """Neither within a pair nor in another one: in a dataset of all categories a phrase means one class."""
    count = Counter(phrase for phrases in PAIRS.values() for phrase in phrases)
    assert [phrase for phrase, times in count.items() if times > 1] == []
