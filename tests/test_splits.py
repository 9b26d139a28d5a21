"""Splits, plans and labels: decided by keys and a seed alone, shared by every format."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvtec_convert import splits
from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.errors import SelectionError
from mvtec_convert.labels import NameScheme, label_map
from mvtec_convert.plan import Background, Plan, PlanOptions, make_plan, save_classes
from mvtec_convert.splits import Split, official, reuse, supervised
from tests.trees import sample, samples

SMALL = {
    "carpet/train/good": 8,
    "carpet/test/good": 4,
    "carpet/test/hole": 7,
    "carpet/test/cut": 2,
    "grid/train/good": 5,
    "grid/test/hole": 3,
    "grid/test/bent": 1,
}

RATIOS = st.one_of(
    st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.7, 0.2, 0.1), (1.0, 1.0, 1.0), (80.0, 15.0, 5.0), (0.99, 0.01)]),
    st.lists(st.floats(0.01, 10), min_size=2, max_size=3).map(tuple),
)
COUNTS = st.dictionaries(
    st.sampled_from([f"{c}/{f}" for c in "ab" for f in ("train/good", "test/good", "test/x", "test/y")]),
    st.integers(1, 30),
    min_size=1,
)


def groups(made: Split) -> dict[tuple[str, str], Counter[str]]:
    """How many images of each category and defect type are in each split."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for key, name in made.assignments.items():
        category, _, defect_type, _ = key.split("/")
        found.setdefault((category, defect_type), Counter())[name] += 1
    return found


# --- supervised -------------------------------------------------------------------------------------------------------


@given(COUNTS, RATIOS, st.integers(0, 99))
def test_every_image_is_in_one_split(counts: dict[str, int], ratios: tuple[float, ...], seed: int) -> None:
    made = supervised(samples(counts), ratios, seed)
    assert sorted(made.assignments) == sorted(s.key for s in samples(counts))
    assert set(made.assignments.values()) <= set(["train", "val", "test"][: len(ratios)])


@given(COUNTS, RATIOS, st.integers(0, 99))
def test_every_type_with_enough_images_is_in_every_split(
    counts: dict[str, int], ratios: tuple[float, ...], seed: int
) -> None:
    for shares in groups(supervised(samples(counts), ratios, seed)).values():
        if shares.total() >= len(ratios):
            assert len(shares) == len(ratios)


@given(COUNTS, RATIOS, st.integers(0, 99))
def test_the_share_of_every_type_is_within_one_image_of_its_ratio(
    counts: dict[str, int], ratios: tuple[float, ...], seed: int
) -> None:
    for shares in groups(supervised(samples(counts), ratios, seed)).values():
        exact = [shares.total() * ratio / sum(ratios) for ratio in ratios]
        # A split that would have gone without gets its one image from the largest.
        given_away = sum(share < 1 for share in exact)
        for name, share in zip(("train", "val", "test"), exact, strict=False):
            slack = 1 + (given_away if share == max(exact) else 0)
            assert abs(shares[name] - share) < slack + 1e-9


@given(COUNTS, RATIOS)
def test_a_type_of_too_few_images_is_in_train_first_then_in_val(
    counts: dict[str, int], ratios: tuple[float, ...]
) -> None:
    few = {folder: min(count, len(ratios) - 1) for folder, count in counts.items() if "train" not in folder}
    for shares in groups(supervised(samples(few), ratios)).values():
        assert list(shares.values()) == [1] * shares.total()
        assert set(shares) == {"train", "val"} if shares.total() == 2 else set(shares) == {"train"}


@pytest.mark.parametrize("ratios", [(0.1, 0.1, 0.8), (0.45, 0.1, 0.45), (0.7, 0.2, 0.1), (1.0, 1.0, 1.0)])
def test_of_two_images_and_three_splits_train_and_val_get_one_each(ratios: tuple[float, ...]) -> None:
    made = supervised(samples({"a/test/x": 2}), ratios)
    assert sorted(made.assignments.values()) == ["train", "val"]


@pytest.mark.parametrize(
    ("count", "ratios", "expected"),
    [
        (10, (0.8, 0.2), [8, 2]),
        (10, (4, 1), [8, 2]),
        (10, (0.7, 0.2, 0.1), [7, 2, 1]),
        (100, (0.98, 0.01, 0.01), [98, 1, 1]),
        (3, (0.98, 0.01, 0.01), [1, 1, 1]),
        (2, (0.8, 0.2), [1, 1]),
        (1, (0.2, 0.8), [1, 0]),
        (5, (0.8, 0.2), [4, 1]),
        (4, (0.8, 0.2), [3, 1]),
    ],
)
def test_shares_by_example(count: int, ratios: tuple[float, ...], expected: list[int]) -> None:
    shares = Counter(supervised(samples({"a/test/x": count}), ratios).assignments.values())
    assert [shares[name] for name in ("train", "val", "test")][: len(ratios)] == expected


def test_good_images_of_train_and_test_are_one_pool_and_shared_out() -> None:
    made = supervised(samples({"a/train/good": 60, "a/test/good": 20}))
    assert groups(made)["a", "good"] == {"train": 64, "val": 16}
    both = {(key.split("/")[1], name) for key, name in made.assignments.items()}
    assert len(both) == 4


@given(st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(rng: random.Random) -> None:
    mixed = samples(SMALL)
    rng.shuffle(mixed)
    assert supervised(mixed) == supervised(samples(SMALL))
    assert list(supervised(mixed).assignments) == sorted(s.key for s in mixed)


def test_other_categories_and_types_do_not_matter() -> None:
    whole = supervised(samples(SMALL), (0.6, 0.2, 0.2), 3).assignments
    for part in ("carpet/", "grid/", "carpet/test/hole/"):
        chosen = [s for s in samples(SMALL) if s.key.startswith(part)]
        made = supervised(chosen, (0.6, 0.2, 0.2), 3).assignments
        assert made == {key: name for key, name in whole.items() if key.startswith(part)}


def test_a_split_is_the_same_for_ever() -> None:
    made = supervised(samples({"carpet/test/hole": 6, "carpet/train/good": 3}), (0.5, 0.3, 0.2), seed=7)
    assert made == Split("supervised", 7, (0.5, 0.3, 0.2), PINNED)


PINNED = {
    "carpet/test/hole/000.png": "test",
    "carpet/test/hole/001.png": "val",
    "carpet/test/hole/002.png": "val",
    "carpet/test/hole/003.png": "train",
    "carpet/test/hole/004.png": "train",
    "carpet/test/hole/005.png": "train",
    "carpet/train/good/000.png": "train",
    "carpet/train/good/001.png": "val",
    "carpet/train/good/002.png": "test",
}


def test_another_seed_makes_another_split_of_the_same_shares() -> None:
    first, second = supervised(samples(SMALL), seed=0), supervised(samples(SMALL), seed=1)
    assert first.assignments != second.assignments
    assert groups(first) == groups(second)
    assert len({tuple(supervised(samples(SMALL), seed=seed).assignments.values()) for seed in range(20)}) > 15


BAD_RATIOS = [(), (1.0,), (0.5, 0.5, 0.5, 0.5), (0.8, 0.0), (0.8, -0.2), (float("nan"), 0.5), (float("inf"), 1.0)]


@pytest.mark.parametrize("ratios", BAD_RATIOS)
def test_ratios_that_make_no_sense_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(SelectionError, match="ratios are two or three positive numbers") as caught:
        supervised(samples(SMALL), ratios)
    assert caught.value.hint


@pytest.mark.parametrize("ratios", [(1e-300, 1e300), (1e308, 1e308), (5e-324, 1.0)])
def test_with_any_positive_ratios_every_image_is_in_a_split(ratios: tuple[float, ...]) -> None:
    assert len(supervised(samples(SMALL), ratios).assignments) == sum(SMALL.values())


# --- official ---------------------------------------------------------------------------------------------------------


def test_the_official_split_is_the_datasets_own() -> None:
    made = official(samples(SMALL))
    assert made == Split("official", 0, (), {s.key: s.split for s in samples(SMALL)})
    assert made.names == ("train", "test")


def test_names_are_those_that_occur_in_the_usual_order() -> None:
    assert supervised(samples(SMALL), (1, 1, 1)).names == ("train", "val", "test")
    assert supervised(samples({"a/test/x": 1})).names == ("train",)


# --- saved ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made", [official(samples(SMALL)), supervised(samples(SMALL)), supervised(samples(SMALL), (5, 3, 2), 9)]
)
def test_a_saved_split_is_loaded_as_it_was(made: Split, tmp_path: Path) -> None:
    splits.save(made, tmp_path)
    assert splits.load(tmp_path) == made
    assert splits.load(tmp_path / "splits.json") == made


def test_keys_with_unicode_and_quotes_survive(tmp_path: Path) -> None:
    odd = [sample('Öse 検査/test/große "Löcher"/\U0001f529 1.png'), sample("a\\b/train/good/e\u0301.png")]
    splits.save(supervised(odd), tmp_path)
    assert splits.load(tmp_path) == supervised(odd)


def test_the_saved_file_does_not_depend_on_the_order_of_samples(tmp_path: Path) -> None:
    for name, order in {"a": samples(SMALL), "b": samples(SMALL)[::-1]}.items():
        (tmp_path / name).mkdir()
        splits.save(official(order), tmp_path / name)
    assert (tmp_path / "a/splits.json").read_bytes() == (tmp_path / "b/splits.json").read_bytes()


def test_a_saved_split_is_used_again_for_fewer_samples() -> None:
    made = supervised(samples(SMALL), (5, 3, 2), 9)
    some = [s for s in samples(SMALL) if s.category == "grid" and s.stem != "000"]
    again = reuse(some, made)
    assert (again.protocol, again.seed, again.ratios) == ("supervised", 9, (5, 3, 2))
    assert again.assignments == {s.key: made.assignments[s.key] for s in some}


def test_a_sample_that_the_saved_split_does_not_know_is_an_error() -> None:
    made = supervised(samples({"a/test/x": 3}))
    with pytest.raises(
        SelectionError, match=r"nothing of 2 of 5 images, the first of them a/test/x/003\.png"
    ) as caught:
        reuse(samples({"a/test/x": 5}), made)
    assert caught.value.hint


VALID = {"protocol": "supervised", "seed": 0, "ratios": [0.8, 0.2], "assignments": {"a/test/x/000.png": "train"}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        b'"splits"',
        json.dumps(VALID)[:-1].encode(),
        json.dumps(VALID | {"protocol": "random"}).encode(),
        json.dumps(VALID | {"seed": "none"}).encode(),
        json.dumps(VALID | {"ratios": 0.8}).encode(),
        json.dumps(VALID | {"ratios": ["most"]}).encode(),
        json.dumps(VALID | {"assignments": ["a/test/x/000.png"]}).encode(),
        json.dumps(VALID | {"assignments": {"a/test/x/000.png": "validation"}}).encode(),
        json.dumps(VALID | {"assignments": {"a/test/x/000.png": None}}).encode(),
        *[json.dumps({k: v for k, v in VALID.items() if k != left_out}).encode() for left_out in VALID],
    ],
)
def test_a_damaged_saved_split_is_an_error_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    file.write_bytes(content)
    for path in (file, tmp_path):
        with pytest.raises(SelectionError) as caught:
            splits.load(path)
        assert caught.value.path == str(file)
        assert caught.value.hint


def test_a_folder_without_a_saved_split_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "splits.json", tmp_path / "none"):
        with pytest.raises(SelectionError, match="no split to be read") as caught:
            splits.load(path)
        assert caught.value.hint


def test_a_valid_file_is_what_the_damaged_ones_above_differ_from(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(json.dumps(VALID))
    assert splits.load(tmp_path).assignments == {"a/test/x/000.png": "train"}


# --- plans ------------------------------------------------------------------------------------------------------------


def plan_of(chosen: Sequence[Sample], options: PlanOptions = PlanOptions()) -> Plan:
    ordered = tuple(sorted(chosen, key=lambda s: s.key))
    return make_plan(Dataset(Path("/dataset"), "mvtec_ad", ordered), options)


def places(plan: Plan, *, good: bool) -> Counter[tuple[str, str]]:
    """Number of good or defective images in each category and split."""
    return Counter((item.sample.category, item.split) for item in plan.items if item.sample.is_good is good)


def test_a_plan_holds_every_image_in_the_order_of_keys() -> None:
    plan = plan_of(samples(SMALL))
    assert [item.sample.key for item in plan.items] == sorted(s.key for s in samples(SMALL))
    assert [item.id for item in plan.items] == list(range(1, sum(SMALL.values()) + 1))
    assert all(item.split == plan.split.assignments[item.sample.key] for item in plan.items)


def test_no_background_leaves_out_good_images_and_no_others() -> None:
    plan, whole = plan_of(samples(SMALL), PlanOptions(background="none")), plan_of(samples(SMALL))
    assert not places(plan, good=True)
    assert places(plan, good=False) == places(whole, good=False)
    assert plan.split == whole.split, "the split can be used again with background"


@pytest.mark.parametrize("ratio", [0, 0.5, 1.0, 1.5, 3, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_background_ratio_counts_good_images_for_each_defective_one(ratio: float, seed: int) -> None:
    counts = SMALL | {"carpet/train/good": 60, "grid/train/good": 60, "tile/train/good": 9}
    plan = plan_of(samples(counts), PlanOptions(background=ratio, seed=seed))
    whole = plan_of(samples(counts), PlanOptions(seed=seed))
    good, defective, all_good = places(plan, good=True), places(plan, good=False), places(whole, good=True)
    assert defective == places(whole, good=False)
    for place in all_good:
        assert abs(good[place] - min(ratio * defective[place], all_good[place])) <= 0.5
    kept = {item.sample.key for item in plan.items}
    more = {item.sample.key for item in plan_of(samples(counts), PlanOptions(background=ratio + 1, seed=seed)).items}
    assert kept <= more


def test_which_background_is_kept_depends_on_the_seed_only() -> None:
    def kept(seed: int, part: str = "") -> set[str]:
        chosen = [s for s in samples(SMALL) if s.key.startswith(part)]
        return {item.sample.key for item in plan_of(chosen, PlanOptions(background=0.5, seed=seed)).items}

    assert kept(0) == kept(0)
    assert len({frozenset(kept(seed)) for seed in range(8)}) > 4
    assert kept(0, "carpet/") == {key for key in kept(0) if key.startswith("carpet/")}


def test_the_seed_draws_the_background_of_an_official_split_too() -> None:
    def kept(seed: int) -> set[str]:
        options = PlanOptions(background=0.5, split="official", seed=seed)
        return {item.sample.key for item in plan_of(samples(SMALL | {"carpet/test/good": 40}), options).items}

    assert kept(3) == kept(3)
    assert len({frozenset(kept(seed)) for seed in range(8)}) > 4


@pytest.mark.parametrize("background", [-1, -0.001, float("nan"), float("inf"), "some", "1e999"])
def test_background_that_makes_no_sense_is_refused(background: Background) -> None:
    with pytest.raises(SelectionError, match="background is all, none, or a number"):
        plan_of(samples(SMALL), PlanOptions(background=background))


def test_any_number_from_0_is_a_background_ratio() -> None:
    assert len(plan_of(samples(SMALL), PlanOptions(background=1e308)).items) == sum(SMALL.values())


def test_a_selection_without_defects_is_an_error() -> None:
    with pytest.raises(SelectionError, match="nothing to label") as caught:
        plan_of(samples({"a/train/good": 3}))
    assert caught.value.path == str(Path("/dataset"))
    assert caught.value.hint


def test_a_plan_uses_the_official_or_a_saved_split_when_asked(tmp_path: Path) -> None:
    assert plan_of(samples(SMALL), PlanOptions(split="official")).split == official(samples(SMALL))
    saved = supervised(samples(SMALL), (5, 3, 2), 9)
    splits.save(saved, tmp_path)
    again = plan_of(samples(SMALL), PlanOptions(split_from=tmp_path, seed=4))
    assert again.split == saved
    assert again.split_names == ("train", "val", "test")


# --- names of files ---------------------------------------------------------------------------------------------------


def names(*keys: str) -> list[str]:
    return [item.name for item in plan_of([sample(key) for key in keys]).items]


def test_names_are_category_defect_type_and_stem() -> None:
    expected = ["carpet_good_000", "carpet_hole_000", "carpet_good_train_000"]
    assert names("carpet/test/hole/000.png", "carpet/train/good/000.png", "carpet/test/good/000.png") == expected


def test_file_names_have_the_images_suffix_in_lower_case() -> None:
    plan = plan_of([sample("a/test/x/0.JPG"), sample("a/test/x/1.b.png")])
    assert [item.file_name for item in plan.items] == ["a_x_0.jpg", "a_x_1.b.png"]


def distinct(found: Sequence[str]) -> bool:
    return len({name.casefold() for name in found}) == len(found)


@pytest.mark.parametrize(
    "keys",
    [
        ["a_b/test/c/000.png", "a/test/b_c/000.png"],
        ["a/test/x/A.png", "a/test/x/a.png"],
        ["A/test/x/0.png", "a/test/x/0.png"],
        ["a/test/x/ß.png", "a/test/x/SS.png", "a/test/x/ss.png"],
        ["a/train/good/0.png", "a/train/good/0.jpg", "a/test/x/0.png"],
        ["a/train/good/0.png", "a/test/good/train_0.png", "a/test/x/0.png"],
        ["a/test/x/0.png", "a/test/x/0.jpg", "a/test/x/0-1.png", "a/test/x/0-2.png", "a/test/x/0-1.jpg"],
        ["a/test/x/0?.png", "a/test/x/0_.png", "a/test/x/0:.png"],
    ],
)
def test_names_are_unique_even_where_case_does_not_count(keys: list[str]) -> None:
    assert distinct(names(*keys))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "A", "a_b", "a-1"]),
            st.sampled_from(["train/good", "test/good", "test/b", "test/b_c", "test/B"]),
            st.text("aAbc_-12ß?", min_size=1, max_size=4),
            st.sampled_from([".png", ".PNG", ".jpg"]),
        ),
        unique=True,
        max_size=15,
    )
)
def test_names_are_unique_whatever_the_folders_are_called(parts: list[tuple[str, str, str, str]]) -> None:
    keys = [f"{category}/{folder}/{stem}{suffix}" for category, folder, stem, suffix in parts]
    assert distinct(names("a/test/b/000.png", *keys))


def test_names_hold_no_character_that_windows_forbids() -> None:
    (name,) = names('a<b>/test/c:"|/0\\?*1.png')
    assert not set(name) & set('<>:"/\\|?*')
    assert name.startswith("a_b_")


def test_names_do_not_depend_on_the_order_of_samples() -> None:
    keys = ["a_b/test/c/0.png", "a/test/b_c/0.png", "a/test/B_C/0.png", "a/test/x/1.png"]
    first, second = plan_of([sample(key) for key in keys]), plan_of([sample(key) for key in keys[::-1]])
    assert first.items == second.items


# --- classes ----------------------------------------------------------------------------------------------------------

SCHEMES: dict[NameScheme, tuple[str, ...]] = {
    "defect": ("bent", "cut", "hole"),
    "category": ("carpet", "grid"),
    "category-defect": ("carpet-cut", "carpet-hole", "grid-bent", "grid-hole"),
    "single": ("defect",),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_classes_are_sorted_and_contiguous_from_0_without_good(scheme: NameScheme) -> None:
    labels = label_map(samples(SMALL)[::-1], scheme)
    assert labels.names == SCHEMES[scheme]
    assert [label.id for label in labels.classes] == list(range(len(labels.classes)))
    members = [member for label in labels.classes for member in label.members]
    expected = [("carpet", "cut"), ("carpet", "hole"), ("grid", "bent"), ("grid", "hole")]
    assert sorted(members) == expected
    assert all(list(label.members) == sorted(label.members) for label in labels.classes)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_defective_image_has_the_class_of_its_name_and_good_ones_have_none(scheme: NameScheme) -> None:
    plan = plan_of(samples(SMALL), PlanOptions(names=scheme))
    for item in plan.items:
        if item.sample.is_good:
            assert item.classes == {}
        else:
            (meaning,) = item.classes.values()
            label = plan.labels.classes[meaning.id]
            assert meaning.name == label.name
            assert (item.sample.category, item.sample.defect_type) in label.members


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_category_of_good_images_only_has_no_class(scheme: NameScheme) -> None:
    assert label_map(samples(SMALL | {"wood/train/good": 3}), scheme) == label_map(samples(SMALL), scheme)
    assert label_map(samples({"wood/train/good": 3}), scheme).classes == ()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_saved_classes_say_what_is_in_each(scheme: NameScheme, tmp_path: Path) -> None:
    labels = label_map(samples(SMALL), scheme)
    save_classes(labels, tmp_path)
    saved = json.loads((tmp_path / "classes.json").read_text(encoding="utf-8"))
    assert saved["names"] == scheme
    assert [(c["id"], c["name"]) for c in saved["classes"]] == list(enumerate(SCHEMES[scheme]))
    members = [member for c in saved["classes"] for member in c["members"]]
    assert sorted(members) == ["carpet/cut", "carpet/hole", "grid/bent", "grid/hole"]
