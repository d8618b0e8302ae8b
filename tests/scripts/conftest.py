"""The scripts' own modules can be imported as the scripts import them."""

import sys

from tests.outside import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
