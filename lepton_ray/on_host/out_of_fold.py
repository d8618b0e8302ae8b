"""Out-of-fold predictions on disk: a bench writes them, a promotion and the ensemble read them. It judges nothing."""

import json
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_ray.search.evaluation import Fold


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What a trial predicted of each row it was judged on.

    Attributes:
        rows: (n,) the rows, ascending.
        predictions: (repeats, n) or (repeats, n, k).
    """

    rows: np.ndarray
    predictions: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(n,) or (n, k), averaged over the repeats."""
        return np.asarray(self.predictions.mean(axis=0))


def path_of(scratch: Path, trial_id: str) -> Path:
    return scratch / "oof" / f"{trial_id}.npz"


def save_folds(path: Path, folds: Sequence[Fold]) -> None:
    """Write what the folds said, whole or not at all."""
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as sink:
        np.savez(
            sink,
            rows=np.concatenate([fold.rows for fold in folds]),
            predictions=np.concatenate([fold.prediction for fold in folds]),
            sizes=np.array([len(fold.rows) for fold in folds]),
            scores=np.array([fold.score for fold in folds]),
            efforts=np.frombuffer(json.dumps([fold.effort for fold in folds]).encode(), np.uint8),
        )
    temporary.replace(path)


def since_kept(path: Path) -> float | None:
    """Seconds since folds were last written there, by this machine's clock of the day; None where none are."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None


def load_folds(path: Path) -> tuple[Fold, ...]:
    """Read what ``save_folds`` wrote; nothing where there is no such file, or one that a machine's end has damaged."""
    if not zipfile.is_zipfile(path):
        return ()
    try:
        with np.load(path, allow_pickle=False) as saved:
            ends = np.cumsum(saved["sizes"])[:-1]
            rows, predictions = np.split(saved["rows"], ends), np.split(saved["predictions"], ends)
            efforts = json.loads(saved["efforts"].tobytes())
            scores = saved["scores"].tolist()
    except (zipfile.BadZipFile, zlib.error):
        return ()
    return tuple(Fold(*parts) for parts in zip(rows, predictions, scores, efforts, strict=True))


def out_of_fold(path: Path) -> OutOfFold | None:
    """The predictions row by row, or None where there are none or the last repeat is not whole."""
    folds = load_folds(path)
    if not folds:
        return None
    rows = np.concatenate([fold.rows for fold in folds])
    predictions = np.concatenate([fold.prediction for fold in folds])
    order = np.argsort(rows, kind="stable")
    distinct, counts = np.unique(rows, return_counts=True)
    if counts.min() != counts.max():
        return None
    by_row = predictions[order].reshape(len(distinct), int(counts[0]), *predictions.shape[1:])
    return OutOfFold(distinct, np.ascontiguousarray(np.moveaxis(by_row, 1, 0)))
