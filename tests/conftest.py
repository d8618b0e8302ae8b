"""What holds for every test."""

import gc
import signal

from hypothesis import HealthCheck, settings

# Under nohup a hangup is ignored, and by what a shell starts beside itself Ctrl-C; so it would be by every process that
# a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=25)
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """What has been imported stays; it is not searched for garbage over and over again."""
    gc.collect()
    gc.freeze()
