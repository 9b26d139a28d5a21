"""Masks in which the value or the colour of a pixel names the defect: one binary mask for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mvtec_convert.dataset import PixelNames
from mvtec_convert.errors import MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.images import BinaryMask, read_header, read_mask_values
from mvtec_convert.opening import FilePath

Codes: TypeAlias = npt.NDArray[Any]
"""Shape (height, width): of each pixel the value, or the colour as 0xRRGGBB; 0 is no defect."""

DEEP_GREY = frozenset({"I", "I;16", "I;16B", "F"})
GREY = DEEP_GREY | {"1", "L", "LA"}
"""Pillow's modes without colour."""

MOST_TOLD = 6
"""Values told one by one; more of them are shades, and no names of defects."""

MOST_NAMES = 20
"""Told of a table of names."""

SMOOTHED = "its edges are smoothed or blurred: save it as PNG, without anti-aliasing, and scale it by nearest neighbour"


def read_codes(path: FilePath, names: PixelNames) -> Codes:
    """Read one mask file by what names its defects.

    A value is what the file stores: in a palette of colours the index, as annotation tools mean it; in a palette of
    greys, which is how some programs shrink a grey image, the grey. White of 1 bit is 255, or 1 where only that has
    a name.

    Raises:
        MaskError: see `images.read_mask`; or the mask has colours, but values are what is named.
    """
    from mvtec_convert.geometry.pillow import read_mask_colours, read_mask_indices

    mode = read_header(path).mode
    if names.by == "colour":
        if mode in DEEP_GREY:
            hint = "name its values (--values FILE), or save it in colour"
            raise MaskError(
                "a grey mask of more than 8 bits has no colours", code="coloured-mask", path=path, hint=hint
            )
        return read_mask_colours(path)
    if mode == "P":
        indices = read_mask_indices(path)
        if indices is not None:
            return indices
    elif mode not in GREY:
        _refuse_colours(path, read_mask_colours(path))
    values = read_mask_values(path)
    if values.dtype == bool:
        known = {code for code, _ in names.names}
        white = 1 if 1 in known and 255 not in known else 255
        return np.asarray(np.where(values, white, 0), np.uint8)
    return values


def _refuse_colours(path: FilePath, colours: npt.NDArray[np.int32]) -> None:
    # Where all channels are alike, the value stands three times.
    coloured = colours[colours != (colours & 0xFF) * 0x010101]
    if coloured.size:
        raise MaskError(
            f"its pixels have colours ({_code(coloured[0], 'colour')}), but their values are what is named",
            code="coloured-mask",
            path=path,
            hint="name the colours instead (--colors FILE), or save the mask in grey, with a value for each defect",
        )


def layers(files: Sequence[Codes], names: PixelNames) -> Iterator[tuple[str, BinaryMask]]:
    """(defect type, mask) of each value that a mask shows, by value; `unnamed` must have been asked first.

    Args:
        files: the masks of one image, of one size; they are laid over each other, value by value.
        names: what values are called. Those without a name of their own are one layer, the last.
    """
    known: dict[Any, str] = dict(names.names)
    present = {code for codes in files for code in _present(codes)}
    for code in sorted(present & known.keys()):
        yield known[code], _union([codes == code for codes in files])
    if names.otherwise is not None and present - known.keys():
        named = list(known.keys())
        yield names.otherwise, _union([(codes != 0) & ~np.isin(codes, named) for codes in files])


def _present(codes: Codes) -> list[Any]:
    found: list[Any] = np.unique(codes[codes != 0]).tolist()
    return found


def _union(masks: Sequence[npt.NDArray[np.bool_]]) -> BinaryMask:
    return np.asarray(np.logical_or.reduce(masks)).view(np.uint8)


def unnamed(path: FilePath, codes: Codes, names: PixelNames) -> Finding | None:
    """What is told of a mask with pixels that have no name: an error, or a warning where all others are called alike.

    None where each pixel has one.
    """
    drawn = codes[codes != 0]
    strange = drawn[~np.isin(drawn, [code for code, _ in names.names])]
    if not strange.size:
        return None
    values = np.unique(strange)
    what = f"{_several(values, names.by)}, {strange.size} px"
    named = ", ".join(f"{_code(code, names.by)} {name}" for code, name in names.names[:MOST_NAMES])
    named += f" and {len(names.names) - MOST_NAMES} more" if len(names.names) > MOST_NAMES else ""
    hint = SMOOTHED if len(values) > MOST_TOLD else f"name the {names.by} where the others are named, or mend the mask"
    if names.otherwise is not None:
        message = f"{what}: without a name of its own, so it counts as {names.otherwise}; named: {named}"
        fine = f"fine if {names.otherwise} is what it shows, else mend the mask"
        return Finding(
            "unnamed-value", message, str(path), severity="warning", hint=hint if len(values) > MOST_TOLD else fine
        )
    return Finding("unnamed-value", f"{what}: without a name; named: {named}", str(path), hint=hint)


def _several(values: npt.NDArray[Any], by: str) -> str:
    if len(values) > MOST_TOLD:
        return f"{len(values)} {by}s from {_code(values[0], by)} to {_code(values[-1], by)}"
    return f"the {by}{'' if len(values) == 1 else 's'} {', '.join(_code(value, by) for value in values)}"


def _code(code: Any, by: str) -> str:
    """As people write it."""
    return f"#{int(code):06x}" if by == "colour" else f"{float(code):g}"
