"""Statistics of a source dataset, against trees whose every pixel is known."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.cli.app import run
from mvtec_convert.errors import SelectionError
from mvtec_convert.geometry.regions import RegionOptions
from mvtec_convert.published import comparison, differences, mvtec_ad
from mvtec_convert.statistics import ReportOptions
from mvtec_convert.tables import Share
from tests.exports import regions_of, true_masks

REAL = os.environ.get("MVTEC_ROOT")
WIDTH, HEIGHT = 200, 100


def image(root: Path, key: str, *boxes: tuple[int, int, int, int], mode: str = "RGB", size=(WIDTH, HEIGHT)) -> None:
    """Write an image; where it is defective its mask too, with these boxes (x0, y0, x1, y1) filled."""
    category, _, defect, name = key.split("/")
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    if defect != "good":
        mask = np.zeros(size[::-1], np.uint8)
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = 255
        target = root / category / "ground_truth" / defect / name.replace(".png", "_mask.png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(target)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three good images, three of `hole` with four regions, one of `cut` with one."""
    for key in ("part/train/good/0.png", "part/train/good/1.png", "part/test/good/0.png"):
        image(tmp_path, key)
    image(tmp_path, "part/test/hole/0.png", (0, 0, 10, 10))
    image(tmp_path, "part/test/hole/1.png", (20, 20, 60, 60), (100, 20, 140, 60))
    image(tmp_path, "part/test/hole/2.png", (50, 10, 150, 20))
    image(tmp_path, "part/test/cut/0.png", (5, 5, 105, 97))
    return tmp_path


def rows(found, name: str, options: ReportOptions = ReportOptions()) -> list[dict]:
    """One table, each row by its headings."""
    (table,) = [table for table in found.tables(options) if table.name == name]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_the_facts(tree: Path):
    found = mc.stats(mc.load(tree))
    (part,) = found.categories
    assert (part.images, part.train, part.test, part.train_good, part.test_good) == (7, 2, 5, 2, 1)
    assert (part.defective, part.regions) == (4, 5)
    assert {name: (each.images, each.regions) for name, each in part.defect_types.items()} == {
        "cut": (1, 1),
        "hole": (3, 4),
    }
    assert part.part.kinds == {(WIDTH, HEIGHT, 3): 7}
    (overview,) = rows(found, "overview")
    assert overview["defect classes"] == "cut, hole"
    assert (overview["image size"], overview["channels"]) == ("200 x 100", "3")
    assert "copy" not in overview  # nothing is published of it
    assert "copy" not in {table.name for table in found.tables()}


def test_how_images_are_distributed(tree: Path):
    table = {row["class"]: row for row in rows(mc.stats(mc.load(tree)), "distribution")}
    assert list(table) == ["good", "cut", "hole", "all"]
    assert (table["good"]["train"], table["good"]["share of train"]) == (2, 1)
    assert (table["good"]["test"], table["good"]["share of test"]) == (1, 1 / 5)
    assert (table["hole"]["train"], table["hole"]["test"], table["hole"]["all"]) == (0, 3, 3)
    assert table["hole"]["share of all"] == 3 / 7
    assert all(isinstance(row["share of all"], Share) for row in table.values())
    assert table["all"]["share of all"] == 1


def test_a_val_split_has_columns_where_there_is_one(tree: Path):
    dataset = mc.load(tree)
    moved = tuple(replace(sample, split="val") if sample.stem == "2" else sample for sample in dataset)
    found = mc.stats(replace(dataset, samples=moved))
    assert found.categories[0].splits == {"train": 2, "val": 1, "test": 4}
    assert rows(found, "overview")[0]["val"] == 1
    table = {row["class"]: row for row in rows(found, "distribution")}
    assert (table["hole"]["val"], table["hole"]["share of val"], table["hole"]["all"]) == (1, 1, 3)
    assert found.document()["categories"][0]["defect_types"]["hole"]["val"] == 1
    assert "val" not in rows(mc.stats(dataset), "overview")[0]


def test_regions_by_class(tree: Path):
    found = mc.stats(mc.load(tree))
    table = {row["class"]: row for row in rows(found, "regions")}
    assert table["hole"] == {
        "category": "part", "class": "hole", "images": 3, "regions": 4, "per image": 4 / 3, "most per image": 2,
        "images with several": 1 / 3, "median aspect": 1, "largest aspect": 10, "on the border": 1 / 4,
        "with holes": 0, "in pieces": 0,
    }  # fmt: skip
    areas = {row["class"]: row for row in rows(found, "areas")}
    assert [areas["hole"][name] for name in ("smallest", "median", "largest")] == [100, 1300, 1600]
    assert [areas["all"][name] for name in ("lower quartile", "upper quartile")] == [1000, 1600]
    relative = {row["class"]: row for row in rows(found, "relative-areas")}
    assert relative["cut"]["median"] == 9200 / 20_000


def test_sizes_at_the_original_size_and_for_a_trainer(tree: Path):
    found = mc.stats(mc.load(tree))
    at_400 = {row["class"]: row for row in rows(found, "sizes", ReportOptions(imgsz=400))}
    hole = at_400["hole"]  # areas 100, 1600, 1600, 1000; at 400 px four times as large
    assert (hole["small"], hole["medium"], hole["large"]) == (2, 2, 0)
    assert (hole["small at 400"], hole["medium at 400"], hole["large at 400"]) == (1, 3, 0)
    cut = at_400["cut"]  # 9200, then 36,800
    assert (cut["medium"], cut["large at 400"]) == (1, 1)


def test_merging_makes_regions_of_several_pieces(tree: Path):
    found = mc.stats(mc.load(tree), regions=RegionOptions(merge_distance=50))
    table = {row["class"]: row for row in rows(found, "regions")}
    assert (table["hole"]["regions"], table["hole"]["in pieces"]) == (3, 1 / 3)


def test_the_long_tail_in_all_units(tree: Path):
    table = {row["counted in"]: row for row in rows(mc.stats(mc.load(tree)), "tail")}
    assert [*table] == ["images", "regions", "pixels", "images and good", "good or not", "defect pixels"]
    assert (table["images"]["ratio"], table["regions"]["ratio"]) == (3, 4)
    assert table["pixels"]["ratio"] == 9200 / 4300
    assert (table["pixels"]["largest class"], table["pixels"]["smallest"]) == ("cut", 4300)
    assert (table["images and good"]["classes"], table["images and good"]["ratio"]) == (3, 3)
    assert (table["good or not"]["largest"], table["good or not"]["smallest"]) == (4, 3)
    assert (table["defect pixels"]["largest"], table["defect pixels"]["smallest"]) == (7 * 20_000 - 13_500, 13_500)
    weights = rows(mc.stats(mc.load(tree)), "weights", ReportOptions(beta=0.5))
    holes = next(row for row in weights if row["class"] == "hole" and row["counted in"] == "images")
    assert holes["effective number"] == 1.75
    assert holes["weight"] == pytest.approx(2 * (1 / 1.75) / (1 / 1.75 + 1))


def test_the_sentences_say_what_is_true(tree: Path):
    told = " ".join(mc.stats(mc.load(tree)).sentences(ReportOptions(imgsz=400)))
    assert "'hole' has 3.0 times as many images as 'cut' (3 against 1)" in told
    assert "A model that never predicts 'cut' still misses nothing in 75.0 % of the defective images" in told
    assert "a factor of 3.0 by images, 4.0 by regions ('hole' and 'cut') and 2.1 by pixels ('cut' and 'hole')." in told
    assert "1.3 defective images for each good one: a model that finds nothing is right about 42.9 %" in told
    assert "Defects cover 9.6 % of all pixels" in told
    assert "40.0 % of the regions are small by COCO's bounds" in told
    assert "20.0 % once images are scaled to 400 px" in told


def test_even_classes_and_single_ones_are_called_so(tmp_path: Path):
    for number in range(3):
        image(tmp_path, f"part/test/hole/{number}.png", (0, 0, 9, 9))
    assert "There is one class, 'hole'" in mc.stats(mc.load(tmp_path)).sentences()[0]
    for number in range(2, 4):
        image(tmp_path, f"part/test/cut/{number}.png", (0, 0, 9, 9))
    told = mc.stats(mc.load(tmp_path)).sentences()
    assert "'hole' has 1.5 times as many images as 'cut' (3 against 2)" in told[0]
    image(tmp_path, "part/test/cut/4.png", (0, 0, 9, 9))
    assert mc.stats(mc.load(tmp_path)).sentences()[0] == "The 2 classes are nearly even: they have 3 images each."


def test_one_image_each_is_one_image(tmp_path: Path):
    for defect in ("hole", "cut"):
        image(tmp_path, f"part/test/{defect}/0.png", (0, 0, 9, 9))
    assert mc.stats(mc.load(tmp_path)).sentences()[0] == "The 2 classes are nearly even: they have 1 image each."


def test_a_dataset_without_a_defect_is_told_to_teach_nothing(tmp_path: Path):
    image(tmp_path, "part/train/good/0.png")
    told = mc.stats(mc.load(tmp_path)).sentences()
    assert told == ["No image is defective: a detector or a segmenter has nothing to learn here."]


def test_sizes_and_channels_are_all_told_where_they_vary(tmp_path: Path):
    image(tmp_path, "part/train/good/0.png", mode="L", size=(30, 20))
    image(tmp_path, "part/train/good/1.png", mode="P", size=(30, 20))
    image(tmp_path, "part/train/good/2.png", mode="RGBA", size=(40, 20))
    image(tmp_path, "part/test/hole/0.png", (0, 0, 5, 5), mode="LA", size=(30, 20))
    image(tmp_path, "part/test/hole/1.png", (0, 0, 5, 5), mode="I;16", size=(30, 20))
    found = mc.stats(mc.load(tmp_path))
    kinds = {(row["width"], row["height"], row["channels"]): row["images"] for row in rows(found, "images")}
    assert kinds == {(30, 20, 1): 2, (30, 20, 3): 1, (30, 20, 2): 1, (40, 20, 4): 1}
    (overview,) = rows(found, "overview")
    assert overview["image size"] == "30 x 20 (4), 40 x 20 (1)"
    assert overview["channels"] == "1, 2, 3, 4"


def test_a_bad_file_is_told_and_counts_as_an_image_alone(tree: Path):
    (tree / "part/ground_truth/hole/1_mask.png").write_bytes(b"no image")
    (tree / "part/train/good/0.png").write_bytes(b"no image")
    found = mc.stats(mc.load(tree))
    assert sorted(finding.path.rsplit("/", 1)[1] for finding in found.findings) == ["0.png", "1_mask.png"]
    (part,) = found.categories
    assert (part.images, part.defect_types["hole"].images, part.defect_types["hole"].regions) == (7, 3, 2)
    assert part.defect_types["hole"].regions_per_image.tolist() == [1, 1]
    assert part.part.kinds == {(WIDTH, HEIGHT, 3): 6}


def test_all_categories_together(tree: Path):
    image(tree, "other/test/hole/0.png", (0, 0, 200, 100))
    found = mc.stats(mc.load(tree))
    assert found.is_brief
    everything = {row["class"]: row for row in rows(found, "distribution") if row["category"] == "all"}
    assert {name: (row["train"], row["test"], row["all"]) for name, row in everything.items()} == {
        "good": (2, 1, 3),
        "defective": (0, 5, 5),
        "all": (2, 6, 8),
    }
    assert everything["defective"]["share of test"] == 5 / 6
    weights = [row for row in rows(found, "weights") if (row["category"], row["counted in"]) == ("all", "images")]
    assert {row["class"]: row["count"] for row in weights} == {"other/hole": 1, "part/cut": 1, "part/hole": 3}
    assert sum(row["weight"] for row in weights) == pytest.approx(3)
    brief = rows(found, "summary")
    assert [(row["category"], row["regions"]) for row in brief] == [("other", 1), ("part", 5), ("all", 6)]
    tails = [row for row in rows(found, "tail") if row["category"] == "all"]
    assert (tails[0]["classes"], tails[0]["largest class"]) == (3, "part/hole")
    assert tails[0]["smallest class"] == "other/hole, part/cut"
    (overview,) = [table for table in found.tables() if table.name == "overview"]
    assert overview.total[:6] == ("total", 3, "", 8, 2, 6)


def test_the_number_of_threads_changes_nothing(sample_root: Path):
    dataset = mc.load(sample_root)
    assert mc.stats(dataset, jobs=1).document() == mc.stats(dataset, jobs=7).document()


def test_progress_comes_once_an_image(tree: Path):
    seen = []
    mc.stats(mc.load(tree), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 7) for number in range(1, 8)]


def test_the_sample_by_an_independent_count(sample_root: Path):
    found = {category.name: category for category in mc.stats(mc.load(sample_root)).categories}
    areas: dict[tuple[str, str], list[int]] = {}
    for name, (defect, mask) in true_masks(sample_root).items():
        category = name.split("_")[0]
        areas.setdefault((category, defect), []).extend(int(region.sum()) for region in regions_of(mask))
    for (category, defect), expected in areas.items():
        assert sorted(found[category].defect_types[defect].measures.area) == sorted(expected)


@pytest.mark.skipif(not REAL, reason="MVTEC_ROOT is not set")
def test_real_data_is_as_published_wherever_a_folder_is_whole():
    compared = 0
    for category in mc.stats(mc.load(REAL)).categories:
        published = mvtec_ad().get(category.name)
        for name, found in category.defect_types.items() if published else ():
            if found.images == published.images.get(f"test/{name}"):
                assert found.regions == published.regions[name]
                compared += 1
        if published:
            assert {*category.part.kinds} == {(*published.image_size, published.channels)}
    assert compared


def test_other_channels_or_sizes_than_published_are_told():
    carpet = mvtec_ad()["carpet"]
    assert differences("carpet", carpet.images, carpet.regions, [(1024, 1024)], [3]) == []
    assert differences("carpet", carpet.images, carpet.regions, [(512, 512)], [1]) == [
        "images of 512 x 512 px, not 1024 x 1024",
        "images with 1 channel, not 3",
    ]


def test_the_whole_of_mvtec_ad_is_called_complete():
    whole = {name: [] for name in mvtec_ad()}
    assert comparison(whole) == ["This is the complete MVTec AD, as published."]
    assert "14 of the 15" in comparison(whole | {"carpet": ["one"]})[-1]
    assert comparison({"carpet": ["one"], "part": None})[1] == "Not a category of MVTec AD: part."
    assert comparison({"part": None}) == []
    resized, lacks = "images of 320 x 320 px, not 1024 x 1024", "test/hole 8 of 17 images"
    assert comparison({"carpet": [resized]})[0] == f"carpet differs from the published: {resized}."
    assert comparison({"carpet": [lacks]})[0] == f"carpet differs from the published: {lacks}."
    assert comparison({"carpet": [lacks, resized], "grid": [lacks]}) == [
        f"grid differs from the published: {lacks}.",
        "Named as categories of MVTec AD, but of other images, in number and size: carpet (the table 'copy' of the "
        "statistics has each figure).",
        "None of the 15 categories of MVTec AD is complete.",
    ]


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(SelectionError, match="beta is from 0 up to 1"):
        ReportOptions(beta=1)
    with pytest.raises(SelectionError, match="cannot be scaled to 0 px"):
        ReportOptions(imgsz=0)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 160])
def test_no_line_and_no_figure_is_cut_off_in_a_terminal(tree: Path, width: int, monkeypatch, capsys):
    monkeypatch.setattr("mvtec_convert.cli.console.out._width", width)
    assert run(["stats", str(tree), "-c", "part"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    assert printed.index("What the dataset holds") < printed.index("'hole' has 3.0") < printed.index("Class weights")
    for heading in ("with holes", "largest aspect"):
        assert all(word in printed for word in heading.split())


def test_several_categories_are_shown_in_brief(sample_root: Path, monkeypatch, capsys):
    monkeypatch.setattr("mvtec_convert.cli.console.out._width", 120)
    assert run(["stats", str(sample_root)]) == 0
    printed = capsys.readouterr().out
    assert "Class weights" not in printed
    assert "--table NAME" in printed
    assert len(printed.splitlines()) < 50


def test_tables_can_be_chosen_in_any_form(tree: Path, capsys):
    assert run(["stats", str(tree), "--table", "sizes", "--table", "overview"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("What the dataset holds") < printed.index("Regions: small, medium, large")
    assert "times as many" not in printed
    assert run(["stats", str(tree), "--markdown", "--table", "tail"]) == 0
    assert capsys.readouterr().out.startswith("**The long tail**\n\n| category ")
    assert run(["stats", str(tree), "--table", "nonsense"]) == 2
    assert "overview, summary, images, distribution, regions" in capsys.readouterr().err


def test_forms_exclude_each_other(tree: Path, capsys):
    assert run(["stats", str(tree), "--csv", "--latex"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert run(["stats", str(tree), "--json", "--table", "tail"]) == 2
    assert "always complete" in capsys.readouterr().err


def test_one_table_as_csv_is_plain_csv_and_all_are_told_apart_by_name(tree: Path, capsys):
    assert run(["stats", str(tree), "--csv", "--table", "areas"]) == 0
    (*read,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row["class"] for row in read] == ["cut", "hole", "all"]
    assert float(read[1]["largest"]) == 1600
    assert run(["stats", str(tree), "--csv"]) == 0
    blocks = capsys.readouterr().out.strip("\n").split("\n\n")
    names = []
    for block in blocks:
        (*lines,) = csv.reader(io.StringIO(block))
        assert len({len(line) for line in lines}) == 1
        assert lines[0][0] == "table"
        names += {line[0] for line in lines[1:]}
    assert names == [table.name for table in mc.stats(mc.load(tree)).tables() if table.rows]


def test_every_form_holds_every_table(sample_root: Path, capsys):
    found = mc.stats(mc.load(sample_root))
    titles = [table.title for table in found.tables()]
    for form in ("--markdown", "--latex"):
        assert run(["stats", str(sample_root), form]) == 0
        printed = capsys.readouterr().out
        assert [title for title in titles if title not in printed] == []
    assert run(["stats", str(sample_root), "--json", "--imgsz", "320", "--beta", "0.9"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["imgsz"] == 320
    carpet = document["categories"][0]
    assert carpet["defect_types"]["hole"]["measures"]["area"]["largest"] == 4914
    assert {tail["beta"] for tail in carpet["long_tail"]} == {0.9}


def test_markdown_tables_have_as_many_cells_in_each_row(sample_root: Path, capsys):
    assert run(["stats", str(sample_root), "--markdown"]) == 0
    for block in re.findall(r"(?:^\|.*\n)+", capsys.readouterr().out, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_smoothed_masks_can_be_cut_at_a_threshold(tree: Path, capsys):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 10:20], mask[12:18, 12:18] = 40, 255
    Image.fromarray(mask).save(tree / "part/ground_truth/cut/0_mask.png")
    assert run(["stats", str(tree), "--csv", "--table", "areas", "--threshold", "127"]) == 0
    (cut, *_) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert cut["largest"] == "36"
