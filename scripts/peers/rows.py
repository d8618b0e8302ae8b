"""What the runners of the peers share: reading rows as a careful user does, writing answers. Needs pandas only."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

Job = dict[str, Any]


def main(train: Callable[[Job], None], predict: Callable[[Job], dict[str, Any]]) -> None:
    """``RUNNER train|predict JOB.json``; what predicting tells of the model goes into the job's ``facts`` file."""
    verb, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    if verb == "train":
        train(job)
    else:
        Path(job["facts"]).write_text(json.dumps(predict(job)))


def read_train(job: Job) -> pd.DataFrame:
    path = job["train"]
    return pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path, low_memory=False)


def kinds_of(frame: pd.DataFrame) -> dict[str, str]:
    """What a frame to predict must be read as."""
    return {name: "number" if pd.api.types.is_numeric_dtype(kind) else "text" for name, kind in frame.dtypes.items()}


def read_test(job: Job, kinds: dict[str, str]) -> pd.DataFrame:
    """The test rows with each column as it was when the model learned, whatever its cells look like now."""
    path = job["test"]
    if path.endswith(".parquet"):
        return pd.read_parquet(path)
    texts = {name: str for name, kind in kinds.items() if kind == "text" and name != job["target"]}
    frame = pd.read_csv(path, low_memory=False, dtype=texts)
    wrong = [name for name in frame if kinds[name] == "number" and not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in wrong})


def write_answers(job: Job, answers: Any, classes: Any = None) -> None:
    """One row each: ``prediction``, or ``probability_<class>`` for every class."""
    names = ["prediction"] if classes is None else [f"probability_{name}" for name in classes]
    pd.DataFrame(answers).set_axis(names, axis=1).to_csv(job["predictions"], index=False)
