"""A digest is that of the table's bytes: not of its place or its name, and of nothing that a reader makes of it."""

from pathlib import Path

import pandas as pd
import pytest

from lepton_ray.table.digest import digest_of
from lepton_ray.table.source import open_source

TEXT = "a,b\n1,2\n3,4\n"


def of(path: Path, text: str = TEXT) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return digest_of(open_source(path))


def test_a_table_may_be_moved_and_renamed(tmp_path: Path) -> None:
    assert of(tmp_path / "t.csv") == of(tmp_path / "elsewhere" / "u.csv") != of(tmp_path / "t.csv", TEXT + "5,6\n")


def test_every_file_of_a_folder_counts_in_its_order(tmp_path: Path) -> None:
    for name, text in (("1.csv", TEXT), ("2.csv", "a,b\n5,6\n")):
        of(tmp_path / "one" / name, text)
        of(tmp_path / "other" / f"{3 - int(name[0])}.csv", text)
    one, other = (digest_of(open_source(tmp_path / name)) for name in ("one", "other"))
    assert one != other and one == digest_of(open_source(tmp_path / "one"))


@pytest.mark.parametrize("other", [{"a": [1, 2, 4]}, {"b": [1, 2, 3]}, {"a": [1.0, 2.0, 3.0]}, {"a": [1, 2]}])
def test_a_frame_is_known_by_its_cells(other: dict[str, list[float]]) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]})
    assert digest_of(open_source(frame)) == digest_of(open_source(frame.copy()))
    assert digest_of(open_source(frame)) != digest_of(open_source(pd.DataFrame(other)))
