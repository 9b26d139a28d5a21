"""Which images a model learns from, and which it is judged by.

A split is decided by the images' keys and a seed alone: not by the order of files, the machine, the format, or what
else was selected. So every export of the same data with the same seed has the same split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mvtec_convert.dataset import SPLIT_NAMES, Sample, SplitName
from mvtec_convert.errors import ExportError, SelectionError
from mvtec_convert.jsonio import load_json, save_json

Protocol = Literal["supervised", "official"]

FILE_NAME = "splits.json"
DEFAULT_RATIOS = (0.8, 0.2)


@dataclass(frozen=True, slots=True)
class Split:
    """Where each image goes.

    Attributes:
        protocol: `supervised` shares defective images out; `official` keeps the dataset's own split.
        seed: of the shuffle, and of the draw of background.
        ratios: shares of train, val and, if there are three, test; empty for `official`.
        assignments: split of each sample, by its key.
    """

    protocol: Protocol
    seed: int
    ratios: tuple[float, ...]
    assignments: Mapping[str, SplitName]

    @property
    def names(self) -> tuple[SplitName, ...]:
        """The splits that occur, in the order train, val, test."""
        present = set(self.assignments.values())
        return tuple(name for name in SPLIT_NAMES if name in present)


def official(samples: Iterable[Sample]) -> Split:
    """The dataset's own split."""
    return Split("official", 0, (), {sample.key: sample.split for sample in samples})


def supervised(samples: Iterable[Sample], ratios: Sequence[float] = DEFAULT_RATIOS, seed: int = 0) -> Split:
    """Share the images of each category and defect type (`good` is one) out by `ratios`.

    Each type with as many images as there are splits is in all of them; of fewer images, train gets the first, val
    the second. Good images of the dataset's train and test are one pool.

    Args:
        samples: the images to share out.
        ratios: shares of train, val and, if there are three, test; scaled to a sum of 1.
        seed: another seed, another split.

    Raises:
        SelectionError: not two or three positive ratios.
    """
    if len(ratios) not in (2, 3) or not all(0 < ratio < float("inf") for ratio in ratios):
        raise SelectionError(
            f"ratios are two or three positive numbers, not {' '.join(map(str, ratios)) or 'none'}",
            hint="for example --ratios 0.8 0.2, or --ratios 0.7 0.2 0.1 for a test split as well",
        )
    groups: dict[tuple[str, str], list[str]] = {}
    for sample in samples:
        groups.setdefault((sample.category, sample.defect_type), []).append(sample.key)
    assignments: dict[str, SplitName] = {}
    for keys in groups.values():
        shuffled = iter(shuffle(keys, seed))
        for name, count in zip(SPLIT_NAMES, _shares(len(keys), ratios), strict=False):
            assignments.update((next(shuffled), name) for _ in range(count))
    return Split("supervised", seed, tuple(ratios), dict(sorted(assignments.items())))


def shuffle(keys: Iterable[str], seed: int) -> list[str]:
    """Keys in an order that depends on nothing but each key and the seed."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())


def _shares(count: int, ratios: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `ratios` that sum to `count`, none 0 while there is enough for all."""
    largest = max(ratios)  # very large ratios must not add up to infinity
    scale = sum(ratio / largest for ratio in ratios)
    exact = [count * (ratio / largest / scale) for ratio in ratios]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(ratios)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: count - sum(shares)]:
        shares[i] += 1
    first = min(count, len(ratios))
    for i in range(first):
        if shares[i] == 0:
            donors = [j for j in range(len(ratios)) if shares[j] > (j < first)]
            shares[max(donors, key=lambda j: shares[j])] -= 1
            shares[i] = 1
    return shares


def save(split: Split, folder: Path) -> None:
    """Write `splits.json`."""
    document = {
        "protocol": split.protocol,
        "seed": split.seed,
        "ratios": split.ratios,
        "assignments": dict(sorted(split.assignments.items())),
    }
    save_json(document, folder / FILE_NAME)


def load(path: Path) -> Split:
    """Read the split of an export, given its folder or the `splits.json` itself.

    Raises:
        SelectionError: there is none, or it is damaged.
    """
    from pydantic import ValidationError

    from mvtec_convert.schemas import problems
    from mvtec_convert.schemas.export import SplitsFile

    file = path / FILE_NAME if path.is_dir() else path
    hint = f"give a folder that this tool exported; it holds {FILE_NAME}"
    try:
        saved = SplitsFile.model_validate(load_json(file))
    except ExportError as error:
        raise SelectionError(f"no split to be read: {error.reason}", path=file, hint=hint) from None
    except ValidationError as error:
        raise SelectionError(f"not a saved split: {problems(error)[0]}", path=file, hint=hint) from None
    return Split(saved.protocol, saved.seed, tuple(saved.ratios), saved.assignments)


def reuse(samples: Iterable[Sample], saved: Split) -> Split:
    """The saved split, for these samples only.

    Raises:
        SelectionError: a sample is not in the saved split.
    """
    keys = [sample.key for sample in samples]
    unknown = [key for key in keys if key not in saved.assignments]
    if unknown:
        raise SelectionError(
            f"the saved split knows nothing of {len(unknown)} of {len(keys)} images, the first of them {unknown[0]}",
            hint="export the same categories as it was saved with, or leave --split-from away for a new split",
        )
    return Split(saved.protocol, saved.seed, saved.ratios, {key: saved.assignments[key] for key in keys})
