"""What keeps memory flat where there are a hundred thousand images: it must say the same as what it stands for."""

from __future__ import annotations

import copy
import os
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mvtec_convert.checks import Firsts, Paths, identical_files, images_below
from mvtec_convert.dataset import Sample

IDS = st.lists(st.integers(-2, 6) | st.integers(), max_size=12)


@given(IDS, st.integers(0, 3))
def test_first_records_are_those_of_a_dict(ids, gap):
    wanted: dict[int, int] = {}
    found = Firsts()
    for index, number in enumerate(ids):
        if index % (gap + 1) == 0:  # records that do not fit the schema have no id
            assert found.setdefault(number, index) == wanted.setdefault(number, index)
    assert {number for number in {*ids, -3, 7} if number in found} == wanted.keys()


@given(st.integers(-5, 5), st.integers(0, 50), IDS)
def test_so_are_those_of_ids_in_a_row(first, count, others):
    wanted: dict[int, int] = {}
    found = Firsts()
    for index, number in enumerate([*range(first, first + count), *others, *range(first, first + count + 3)]):
        assert found.setdefault(number, index) == wanted.setdefault(number, index)


def test_ids_in_a_row_take_no_memory():
    found = Firsts()
    tracemalloc.start()
    try:
        for index in range(20_000):
            found.setdefault(index + 1, index)
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()


def test_a_sample_gives_the_paths_that_it_was_given():
    image, masks = Path("a/test/hole/0.png"), (Path("a/ground_truth/hole/0_mask.png"), Path("b.png"))
    sample = Sample("a", "hole", "test", image, masks, "a/test/hole/0.png")
    for one in (sample, replace(sample), copy.deepcopy(sample), pickle.loads(pickle.dumps(sample))):
        assert (one.image, one.masks) == (image, masks)
        assert one.files == (str(image), *map(str, masks))
        assert one == sample
        assert hash(one) == hash(sample)
        assert repr(one) == repr(sample)
    assert f"image={image!r}, masks={masks!r}" in repr(sample)
    assert replace(sample, image=Path("c.png")).image == Path("c.png")
    assert sample != replace(sample, masks=())


@given(st.lists(st.text("ab./-", min_size=1).map(lambda text: os.path.normpath(f"/r/{text}"))))
def test_paths_as_text_are_in_the_order_of_paths(texts):
    assert list(Paths.in_order(texts)) == sorted(map(Path, texts))


def test_images_are_found_as_by_a_walk_over_paths(tmp_path):
    for name in ("b/0.png", "b-c/0.JPG", "b/.hidden/1.png", ".2.png", "b/3.txt", "b/c/4.tiff", "a.png/5.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "dead.png").symlink_to("nothing")
    (tmp_path / "folder.png").symlink_to("b", target_is_directory=True)
    found = images_below(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a.png/5.png", "b/0.png", "b/c/4.tiff", "b-c/0.JPG", "dead.png"
    ]  # fmt: skip
    assert list(found[1:3]) == [found[1], found[2]]


def test_files_of_one_content_are_told_in_the_order_given(tmp_path):
    paths = [tmp_path / name for name in "dcbaefg"]
    for path, content in zip(paths, ("one", "two", "two", "one", "6", "one", "two"), strict=True):
        path.write_text(content)
    d, c, b, a, _, f, g = paths
    assert list(identical_files(paths)) == [[d, a, f], [c, b, g]]
