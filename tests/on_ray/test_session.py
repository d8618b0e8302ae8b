"""A Ray of our own is closed to others, also where somebody has imported Ray before us."""

import json
import subprocess
import sys

import pytest

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
