"""Names: which class a region gets. One label map serves every format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mvtec_convert.dataset import Sample

NameScheme = Literal["defect", "category", "category-defect", "single"]

SINGLE = "defect"
"""The one class of the scheme `single`."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class that a model learns.

    Attributes:
        id: contiguous from 0.
        name: class name.
        members: the (category, defect type) pairs in it, sorted.
    """

    id: int
    name: str
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """The classes of an export, sorted by name. `good` is never one of them.

    Attributes:
        scheme: how classes are named.
        classes: contiguous, by id.
    """

    scheme: NameScheme
    classes: tuple[Label, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(label.name for label in self.classes)


def label_map(samples: Iterable[Sample], scheme: NameScheme = "defect") -> LabelMap:
    """The label map of the defective samples among those given.

    Where pixels name the defect, each name is in it, seen or not: ids are known before any mask is read, and do not
    hang on what the masks of this selection show.
    """
    members: dict[str, set[tuple[str, str]]] = {}
    for member in {(sample.category, defect_type) for sample in samples for defect_type in sample.defect_types}:
        members.setdefault(class_name(scheme, *member), set()).add(member)
    return LabelMap(
        scheme, tuple(Label(i, name, tuple(sorted(members[name]))) for i, name in enumerate(sorted(members)))
    )


def class_name(scheme: NameScheme, category: str, defect_type: str) -> str:
    """The class name of one defect type of one category."""
    if scheme == "defect":
        return defect_type
    if scheme == "category":
        return category
    return f"{category}-{defect_type}" if scheme == "category-defect" else SINGLE
