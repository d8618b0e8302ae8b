"""What folds said survives the disk, and is read back row by row."""

from pathlib import Path

import numpy as np
import pytest

from lepton_ray.on_host.out_of_fold import load_folds, out_of_fold, path_of, save_folds
from lepton_ray.search.evaluation import Fold


def fold(rows: list[int], shift: float = 0.0) -> Fold:
    at = np.array(rows)
    return Fold(at, np.column_stack([at + shift, at * 10.0]), 0.5 + shift, {"rounds": len(rows)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "oof").mkdir()
    return path_of(tmp_path, "t001")


def test_folds_come_back_as_they_were(path: Path) -> None:
    folds = [fold([4, 2]), fold([0, 1, 3])]
    save_folds(path, folds)
    for one, other in zip(load_folds(path), folds, strict=True):
        assert one.rows.tolist() == other.rows.tolist() and one.prediction.tolist() == other.prediction.tolist()
        assert (one.score, one.effort) == (other.score, other.effort)
    assert [file.name for file in path.parent.iterdir()] == ["t001.npz"]
    assert load_folds(path.with_name("t002.npz")) == ()


def test_each_repeat_is_a_whole_set_of_rows(path: Path) -> None:
    save_folds(path, [fold([4, 2]), fold([0, 1, 3]), fold([1, 2], 1.0), fold([0, 3, 4], 1.0)])
    found = out_of_fold(path)
    assert found is not None and found.rows.tolist() == [0, 1, 2, 3, 4]
    assert found.predictions.shape == (2, 5, 2)
    assert found.predictions[:, :, 0].tolist() == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert found.mean[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_a_repeat_that_is_not_whole_does_not_count_as_one(path: Path) -> None:
    save_folds(path, [fold([0, 1]), fold([1])])
    assert out_of_fold(path) is None
    assert out_of_fold(path.with_name("t002.npz")) is None
