"""A folder in memory that goes with its block, unless there is no room or temporary files belong elsewhere."""

import os
import tempfile
from pathlib import Path

import pytest

from lepton_ray.cli.clean import TEMPORARY
from lepton_ray.on_host.short_lived import IN_MEMORY, homes, short_lived_folder


def test_it_goes_with_the_block_whatever_happens() -> None:
    with pytest.raises(KeyError), short_lived_folder(1000) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("there")
        assert folder.parent in homes()
        raise KeyError
    assert not folder.exists()


def test_the_disk_takes_what_memory_cannot() -> None:
    with short_lived_folder(10**15) as folder:
        assert folder.parent == Path(tempfile.gettempdir()).resolve() != IN_MEMORY


def test_a_place_of_ones_own_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with short_lived_folder(1000) as folder:
        assert homes() == [tmp_path] and folder.parent == tmp_path


def test_clean_knows_it_by_its_name() -> None:
    with short_lived_folder(1000) as folder:
        match = TEMPORARY.fullmatch(folder.name)
        assert match and int(match[1], 16) == os.getpid()
