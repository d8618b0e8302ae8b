"""A Ray of our own is closed to others, also where somebody has imported Ray before us."""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from lepton_ray.errors import EnvironmentFault
from lepton_ray.on_ray import session
from lepton_ray.on_ray.session import LONGEST_TEMP_DIR, made, short_temp_path
from tests.outside import environment

CHILD = """
import json
from ray import tune
import psutil
from lepton_ray.on_ray.session import Session, short_temp_dir
session = Session(short_temp_dir(), cpus=1, object_store_bytes=0).start()
session.wait(60)
everyone = [psutil.Process(), *psutil.Process().children(recursive=True)]
listening = [one for child in everyone for one in child.net_connections("inet") if one.status == psutil.CONN_LISTEN]
print(json.dumps(sorted({one.laddr.ip for one in listening})))
session.stop()
"""


@pytest.mark.ray
def test_a_ray_that_was_imported_before_boots_on_loopback_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment(), capture_output=True, text=True, timeout=120, check=True
    )
    opened = json.loads(done.stdout)
    assert opened and set(opened) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, opened


def test_its_folder_is_made_where_it_boots_and_no_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "long/" * 20)
    assert short_temp_path().parent == Path("/tmp") and not short_temp_path().exists()
    assert len(str(short_temp_path())) <= LONGEST_TEMP_DIR
    place = tmp_path / "here"
    assert made(made(place)) == place and place.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="No temporary folder could be made in"):
        made(tmp_path / "file" / "below")


def test_a_ray_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(session, "boot", lambda *given: goes_on.wait())
    slow = session.Session(tmp_path / "slow", cpus=1, object_store_bytes=0)
    assert slow.trouble is None and slow.start().trouble is None, "it is young"
    monkeypatch.setattr(session, "BOOT_SECONDS", 0.0)
    assert slow.trouble == "was not ready after 0 s" and slow.ended() is None
    goes_on.set()
    slow.ready.wait()
    assert slow.trouble is None, "it came"


def test_a_ray_that_did_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: object) -> None:
        raise EnvironmentFault("There is no Ray here.", "This is a test.")

    monkeypatch.setattr(session, "boot", refused)
    dead = session.Session(tmp_path / "dead", cpus=1, object_store_bytes=0).start()
    dead.ready.wait()
    assert dead.trouble == "did not start (There is no Ray here. This is a test.)"
