"""Each image of the gallery as the template shows it: what is said of it, found by, and drawn over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mvtec_convert.errors import printable
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.reports.contents import Contents
from mvtec_convert.reports.gallery import Thumbnail
from mvtec_convert.reports.pictures import Picture, Shape
from mvtec_convert.tables import Share, shown

SIZES = ("small", "medium", "large")
COLOURS = 8  # of outlines, in page.css

RINGED = 1 / 32
"""A ring of this share of the image's longer side shows where objects are whose own longer side is less."""

MOST_RINGS = 40
"""In an image. Where there are more tiny objects they need not be looked for, and rings would hide them."""


@dataclass(frozen=True, slots=True)
class Facet:
    """One thing to filter images by.

    Attributes:
        name: of the attribute in the page.
        label: for people.
        values: what there is to choose from, in order.
    """

    name: str
    label: str
    values: tuple[str, ...]

    def indices(self, values: Iterable[str]) -> str:
        """Positions of some values, with spaces between: names could hold anything."""
        return " ".join(str(self.values.index(value)) for value in values)


@dataclass(frozen=True, slots=True)
class ShownShape:
    """One object as the template draws it.

    Attributes:
        shape: what is drawn.
        about: what is said of it, by lines: class, box, area, and what else there is.
        colour: number of its class's colour.
        ring: (x, y, radius), px, of a circle to find a tiny object by; None for others.
    """

    shape: Shape
    about: str
    colour: int
    ring: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Card:
    """One image as the template shows it.

    Attributes:
        picture: what is shown.
        thumbnail: its pixels; None where they cannot be read.
        name: short, for people.
        facts: what it is, for people.
        more: what else there is to say of it.
        facets: positions of what it is in each facet's values.
        shapes: its objects.
    """

    picture: Picture
    thumbnail: Thumbnail | None
    name: str
    facts: tuple[str, ...]
    more: str
    facets: Mapping[str, str]
    shapes: tuple[ShownShape, ...]


def facets_of(contents: Contents) -> dict[str, Facet]:
    """What images can be filtered by, by the name of the facet."""
    pictures = contents.pictures
    values: dict[str, tuple[str, Iterable[str]]] = {
        "category": ("Category", sorted({picture.category for picture in pictures})),
        "type": (contents.words.type.capitalize(), sorted({name for picture in pictures for name in picture.types})),
        "split": ("Split", contents.splits),
        "size": ("Region size", SIZES if any(picture.shapes for picture in pictures) else ()),
    }
    return {name: Facet(name, label, tuple(found)) for name, (label, found) in values.items()}


def card_of(picture: Picture, thumbnail: Thumbnail | None, facets: Mapping[str, Facet]) -> Card:
    """What there is to show of an image; `thumbnail` is None where its pixels cannot be read."""
    count = len(picture.shapes)
    regions = [f"{count:,} region" + ("" if count == 1 else "s")] if count else []
    rings = [_ring(shape, picture) for shape in picture.shapes]
    if len(rings) - rings.count(None) > MOST_RINGS:
        rings = [None] * count
    facts = (picture.category, *picture.types, picture.image.split, *regions)
    return Card(
        picture=picture,
        thumbnail=thumbnail,
        name=printable("/".join(picture.key.split("/")[-2:])),
        facts=tuple(printable(fact) for fact in facts if fact),
        more=_more(picture.image),
        facets={
            "category": facets["category"].indices([picture.category]),
            "type": facets["type"].indices(picture.types),
            "split": facets["split"].indices([picture.image.split]),
            "size": facets["size"].indices(sorted({shape.size for shape in picture.shapes})),
        },
        shapes=tuple(
            ShownShape(shape, _about(shape, picture), _colour(shape, facets["type"]), ring)
            for shape, ring in zip(picture.shapes, rings, strict=True)
        ),
    )


def _more(image: LabelledImage) -> str:
    told = [f"{image.width} x {image.height} px"]
    if image.asked:
        told.append("asked for " + ", ".join(f"“{printable(phrase)}”" for phrase in image.asked))
    return " · ".join(told)


def layers_of(cards: Sequence[Card]) -> dict[str, str]:
    """What can be drawn over the images, and what that is."""
    shapes = [shown for card in cards for shown in card.shapes]
    found = {
        "mask": ("the pixels of the label", any(shown.shape.mask for shown in shapes)),
        "polygon": ("the outline", any(shown.shape.mask or shown.shape.outline for shown in shapes)),
        "box": ("the upright box", bool(shapes)),
        "prompts": (
            "points and boxes to prompt a model with",
            any(shown.shape.points or shown.shape.prompt_box for shown in shapes),
        ),
        "rings": ("around regions that are hard to find", any(shown.ring for shown in shapes)),
    }
    return {name: title for name, (title, is_there) in found.items() if is_there}


def _colour(shape: Shape, types: Facet) -> int:
    return types.values.index(shape.class_name) % COLOURS


def _about(shape: Shape, picture: Picture) -> str:
    x0, y0, x1, y1 = shape.box
    share = shape.area / (picture.image.width * picture.image.height)
    lines = [
        shape.class_name,
        f"x {number(x0)}, y {number(y0)}, {number(x1 - x0)} x {number(y1 - y0)} px",
        f"{_kind(shape)} {shape.area:,.0f} px, {shown(Share(share))} of the image",
    ]
    if shape.text is not None and shape.text != shape.class_name:
        lines.append(f"phrase “{shape.text}”")
    if shape.is_crowd:
        lines.append("crowd, which trainers leave out")
    return "\n".join(map(printable, lines))


def _kind(shape: Shape) -> str:
    """What the area is of."""
    return "area" if shape.mask else "area of the outline" if shape.outline else "area of the box"


def _ring(shape: Shape, picture: Picture) -> tuple[float, float, float] | None:
    side = max(picture.image.width, picture.image.height)
    if shape.extent >= RINGED * side:
        return None
    x0, y0, x1, y1 = shape.box
    return (x0 + x1) / 2, (y0 + y1) / 2, RINGED * side


def number(value: float) -> str:
    """`1,024` or `12.25`: at most two decimals, none that is 0."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")
