"""What bills, decides or ends follows the monotonic clock; the clock of the day, which may jump, only writes labels."""

import ast

from tests.house.test_floors import FILES, ROOT, nodes

LABELS = {
    "on_host/bench.py": "when a bundle was made",
    "on_host/course.py": "when a run began",
    "on_host/in_process.py": "when a fit began",
    "on_host/out_of_fold.py": "how much of an interrupted trial's time was lost: attributed, never billed",
    "on_host/pulse.py": "when a run was last heard",
    "on_host/refitting.py": "when a bundle was made",
    "on_host/resuming.py": "when a leg began, and how long the run was down: not billed",
    "on_host/taking_up.py": "how long ago a run was broken off, in words",
    "on_ray/tune_budget.py": "when a search began",
    "serving/access_log.py": "when a request was answered",
    "verbs/estimator.py": "when a bundle was made",
    "verbs/work.py": "when a verb began",
}
CLOCKS_OF_THE_DAY = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}


def test_the_clock_of_the_day_is_read_for_labels_alone() -> None:
    found = set()
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if (node.value.id, node.attr) in CLOCKS_OF_THE_DAY:
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == LABELS.keys(), found ^ LABELS.keys()
