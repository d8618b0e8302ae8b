"""The real supervisor with the fake driver: ``python launch.py SCENARIO.json [flags of lepton run]``."""

import sys
from pathlib import Path

from lepton_ray.on_host.supervisor import main

DRIVER = str(Path(__file__).with_name("fake_driver.py"))

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[2:]], command=[sys.executable, DRIVER, sys.argv[1]]))
