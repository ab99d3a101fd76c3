"""Each layout is known by its folders and read as its authors meant it; one that is not whole is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_dataset import plate, save, save_dataset
from small_layouts import grey_mask, save_grey, save_loco, save_mvtec3d, save_visa

from training.data import DataError, good_parts, unseen_parts
from training.drawings import read_mask, read_regions
from training.layouts import layout_of


def save_plain(root: Path) -> Path:
    for k in range(4):
        save(root / f"{k}.png", plate(k))
    return root


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (save_dataset, "MVTec AD"),
        (save_loco, "MVTec LOCO"),
        (save_visa, "VisA"),
        (save_mvtec3d, "MVTec 3D-AD"),
        (save_plain, "plain folder"),
    ],
)
def test_a_layout_is_known_by_its_folders(tmp_path: Path, make, name: str) -> None:
    assert layout_of(make(tmp_path)).name == name


@pytest.mark.parametrize(
    ("make", "n_fit", "held_out", "defects"),
    [
        (save_loco, 8, "validation", [None, None, "logical_anomalies", "logical_anomalies", *["structural_anomalies"] * 2]),
        (save_visa, 6, "Data", [None, None, "anomaly", "anomaly"]),
        (save_mvtec3d, 8, "validation", [None, None, "hole", "hole"]),
    ],
    ids=["loco", "visa", "mvtec3d"],
)
def test_good_parts_and_test_parts_are_those_of_the_official_split(tmp_path: Path, make, n_fit, held_out, defects) -> None:
    root = make(tmp_path)

    good, unseen = good_parts(root, seed=0), unseen_parts(root)

    assert len(good.train) + len(good.calibration) == n_fit
    assert good.calibration[0].path.relative_to(root).parts[0] == held_out
    assert [p.defect for p in unseen] == defects
    assert {p.path for p in unseen}.isdisjoint(p.path for p in (*good.train, *good.calibration))


def test_each_region_of_loco_has_its_mask_and_the_area_at_which_it_is_saturated(tmp_path: Path) -> None:
    logical, structural = unseen_parts(save_loco(tmp_path))[2:5:2]

    found = [[(int(mask.sum()), saturated) for mask, saturated in read_regions(p)] for p in (logical, structural)]

    assert found == [[(100, 50), (100, 20)], [(10, 10), (10, 5)]]  # half of the area; 20 px, but never more than there are
    assert [region.defect for region in structural.regions] == ["long_scratch", "missing_cap"]


def test_the_mask_of_a_loco_part_is_all_of_its_regions(tmp_path: Path) -> None:
    logical = unseen_parts(save_loco(tmp_path))[2]

    mask = read_mask(logical)

    assert mask.sum() == 200
    assert mask[5, 5]
    assert mask[25, 25]


def test_any_value_of_a_visa_mask_is_defect(tmp_path: Path) -> None:
    anomaly = unseen_parts(save_visa(tmp_path))[-1]

    assert read_mask(anomaly).sum() == 8 * 45


def test_each_part_of_mvtec_3d_has_its_points_and_only_defects_have_a_mask(tmp_path: Path) -> None:
    root = save_mvtec3d(tmp_path)

    good, unseen = good_parts(root, seed=0), unseen_parts(root)

    assert [p.depth for p in unseen] == [p.path.parents[1] / "xyz" / f"{p.path.stem}.tiff" for p in unseen]
    assert all(p.depth.is_file() for p in (*good.train, *good.calibration))
    assert [p.mask is None for p in unseen] == [True, True, False, False]
    assert read_mask(unseen[-1]).sum() == 8 * 45


def test_the_points_of_mvtec_3d_are_never_taken_for_photographs(tmp_path: Path) -> None:
    root = save_mvtec3d(tmp_path)

    assert {p.suffix for p in layout_of(root).test_files()} == {".png"}


@pytest.mark.parametrize("make", [save_loco, save_visa, save_mvtec3d])
def test_a_test_picture_in_the_fit_is_refused_in_every_layout(tmp_path: Path, make) -> None:
    root = make(tmp_path)
    shutil.copy(layout_of(root).train()[0].path, layout_of(root).test()[0].path)

    with pytest.raises(DataError, match="a test picture must never be in the fit"):
        good_parts(root, seed=0)


def without_csv(root: Path) -> Path:
    category = save_visa(root)
    shutil.rmtree(root / "split_csv")
    return category


def edited_csv(old: str, new: str):
    def make(root: Path) -> Path:
        category = save_visa(root)
        file = root / "split_csv" / "1cls.csv"
        file.write_text(file.read_text().replace(old, new))
        return category

    return make


def visa_without_mask(root: Path) -> Path:
    category = save_visa(root)
    (category / "Data" / "Masks" / "Anomaly" / "001.png").unlink()
    return category


def loco_of_another_category(root: Path) -> Path:
    save_grey(save_loco(root) / "ground_truth" / "logical_anomalies" / "001" / "002.png", grey_mask(v7=np.s_[:5, :5]))
    return root


def loco_without_config(root: Path) -> Path:
    (save_loco(root) / "defects_config.json").unlink()
    return root


def loco_with_a_negative_threshold(root: Path) -> Path:
    file = save_loco(root) / "defects_config.json"
    file.write_text(file.read_text().replace("0.5", "-0.5"))
    return root


def loco_with_more_than_a_whole_region(root: Path) -> Path:
    file = save_loco(root) / "defects_config.json"
    file.write_text(file.read_text().replace("0.5", "1.5"))
    return root


def empty_class(root: Path) -> Path:
    (save_dataset(root) / "test" / "dent").mkdir()
    return root


def class_in_sub_folders(root: Path) -> Path:
    save(save_dataset(root) / "test" / "dent" / "2026-11" / "000.png", plate(9))
    return root


def class_of_a_telephone(root: Path) -> Path:
    (empty_class(root) / "test" / "dent" / "IMG_0815.HEIC").write_bytes(b"ftypheic")
    return root


def empty_class_3d(root: Path) -> Path:
    shutil.rmtree(save_mvtec3d(root) / "test" / "hole" / "rgb")
    return root


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (without_csv, r"split_csv/1cls\.csv: cannot be read .*must lie beside the category"),
        (edited_csv("Anomaly/001.JPG", "Anomaly/777.JPG"), r"names candle/Data/Images/Anomaly/777\.JPG, .*no such file"),
        (edited_csv("Anomaly/001.JPG", "../../../etc/passwd"), "no such file"),
        (edited_csv("test,anomaly", "test,odd"), "label 'odd' of candle/Data/Images/Anomaly/000.JPG"),
        (edited_csv("label", "kind"), "no column label; found object, split, kind, image, mask"),
        (visa_without_mask, r"its mask .*001\.png does not exist"),
        (loco_of_another_category, r"002\.png: pixel value 7, defects_config\.json knows 254, 255"),
        (loco_without_config, r"defects_config\.json: cannot be read"),
        (loco_with_a_negative_threshold, r"defects_config\.json: Expected `float` > 0"),
        (loco_with_more_than_a_whole_region, "relative saturation_threshold 1.5 of .*: expected at most 1"),
        (empty_class, "test/dent: no photographs in this class"),
        (class_in_sub_folders, "test/dent: no photographs in this class; .* found 1 in its sub-folders"),
        (class_of_a_telephone, r"test/dent: no photographs in this class; .* found 1 \.HEIC, which is not read"),
        (empty_class_3d, "test/hole/rgb: no photographs in this class"),
    ],
    ids=[
        "no-csv",
        "missing-file",
        "outside-file",
        "label",
        "column",
        "mask",
        "value",
        "no-config",
        "threshold",
        "relative-threshold",
        "class",
        "class-deeper",
        "class-heic",
        "class-3d",
    ],
)
def test_a_test_set_that_is_not_whole_is_refused_with_the_reason(tmp_path: Path, make, named: str) -> None:
    root = make(tmp_path)

    with pytest.raises(DataError, match=named):
        unseen_parts(root)


def test_a_photograph_without_its_points_is_named(tmp_path: Path) -> None:
    (save_mvtec3d(tmp_path) / "train" / "good" / "xyz" / "003.tiff").unlink()

    with pytest.raises(DataError, match=r"rgb/003\.png: expected its depth in .*xyz/003\.tiff, found none"):
        good_parts(tmp_path, seed=0)


def test_a_defect_in_the_training_split_of_visa_is_refused(tmp_path: Path) -> None:
    root = edited_csv(
        "candle,test,anomaly,candle/Data/Images/Anomaly/000", "candle,train,anomaly,candle/Data/Images/Anomaly/000"
    )(tmp_path)

    with pytest.raises(DataError, match=r"000\.JPG: a defect in the training split"):
        good_parts(root, seed=0)


@pytest.mark.parametrize(("make", "one"), [(save_visa, "candle"), (lambda root: save_dataset(root / "cap"), "cap")])
def test_a_collection_of_data_sets_is_refused_with_one_to_name(tmp_path: Path, make, one: str) -> None:
    make(tmp_path)

    with pytest.raises(DataError, match=f"a collection of data sets; name one of them, such as .*{one}"):
        good_parts(tmp_path, seed=0)
