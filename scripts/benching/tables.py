"""The tables of the benches, what is held out of each, and the one scorer. It knows nothing about who is measured.

Cells stay as their publisher wrote them: CSV is read and written as text, Parquet with its own types.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import GroupShuffleSplit, train_test_split

HELD_OUT, MOST_HELD_OUT = 0.2, 50_000
METRIC = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its file under the data folder, or ``builtin:NAME`` of scikit-learn.

    Attributes:
        drop: identifiers and leaks, removed for everybody.
        group: column whose equal values are held out together; removed, too.
    """

    file: str
    target: str
    task: str
    drop: tuple[str, ...] = ()
    group: str = ""
    separator: str = ","

    @property
    def source(self) -> str:
        """Its name in recorded trials, and of the folder of the priors mined without it."""
        return Path(self.file.removeprefix("builtin:")).stem

    def priors(self, folder: Path | None) -> Path | None:
        """What was mined without this table, by ``scripts/mine_leaving_out``; None: lepton searches with its own."""
        found = None if folder is None else (folder / self.source).absolute()
        return found if found is not None and found.is_dir() else None


TABLES = {
    "breast_cancer": Table("builtin:breast_cancer", "target", "binary"),
    "digits": Table("builtin:digits", "target", "multiclass"),
    "german_credit": Table("german_credit.csv", "risk", "binary"),
    "telco_churn": Table("telco_churn.csv", "Churn", "binary", ("customerID",)),
    "online_shoppers": Table("online_shoppers.csv", "Revenue", "binary"),
    "credit_default": Table("credit_default.csv", "fraud", "binary", ("ID",)),
    "bank_marketing": Table("bank_marketing.csv", "y", "binary", ("duration",), separator=";"),
    "adult_income": Table("adult_income.csv", "income", "binary"),
    "hotel_bookings": Table(
        "hotel_bookings.csv", "is_canceled", "binary", ("reservation_status", "reservation_status_date")
    ),
    "diabetes_readmission": Table(
        "diabetes_readmission.csv", "readmitted", "multiclass", ("encounter_id",), group="patient_nbr"
    ),
    "bike_sharing": Table("bike_sharing.csv", "cnt", "regression", ("instant", "casual", "registered")),
    "diamonds": Table("diamonds.csv", "price", "regression", ("rownames",)),
    "flights": Table("flights.parquet", "arr_delay", "regression", ("arr_time", "air_time")),
}
LISTS = {
    "eight": (
        "telco_churn",
        "online_shoppers",
        "credit_default",
        "hotel_bookings",
        "diabetes_readmission",
        "diamonds",
        "bike_sharing",
        "flights",
    ),
    "four": ("telco_churn", "hotel_bookings", "diabetes_readmission", "bike_sharing"),
    "all": tuple(TABLES),
}


@dataclass(frozen=True, slots=True)
class Held:
    """A table parted: two files for everybody, the answers for the scorer only."""

    train: Path
    test: Path
    train_rows: int
    known: np.ndarray
    truth: np.ndarray
    metric: str

    @property
    def constant(self) -> float:
        """The score without a model: the classes' shares or the mean of the rows to learn from."""
        if self.metric == "roc_auc":
            return 0.5
        if self.metric == "rmse":
            return float(root_mean_squared_error(self.truth, np.full(len(self.truth), self.known.mean())))
        classes, counts = np.unique(self.known, return_counts=True)
        return float(log_loss(self.truth, np.tile(counts / counts.sum(), (len(self.truth), 1)), labels=classes))

    def score(self, predictions: Path) -> float:
        """Judge a CSV of ``prediction``, or of ``probability_<class>`` for classes, one row for each row of the test.

        Raises:
            ValueError: rows or columns are missing, or not numbers.
        """
        said = pd.read_csv(predictions, dtype=str, keep_default_na=False)
        if len(said) != len(self.truth):
            raise ValueError(f"{len(said)} predictions for {len(self.truth)} rows")
        if self.metric == "rmse":
            return float(root_mean_squared_error(self.truth, said["prediction"].astype(float)))
        heads = {canonical(name.removeprefix("probability_")): name for name in said if name.startswith("probability_")}
        classes = np.unique(np.concatenate([self.known, self.truth]))
        if not set(heads) & set(classes):
            raise ValueError(f"no column of {list(said)} is the probability of one of {list(classes)}")
        chances = np.column_stack(
            [said[heads[name]].astype(float) if name in heads else np.zeros(len(said)) for name in classes]
        )
        if self.metric == "roc_auc":
            return float(roc_auc_score(self.truth == classes[1], chances[:, 1]))
        return float(log_loss(self.truth, chances / chances.sum(axis=1, keepdims=True), labels=classes))


def canonical(name: object) -> str:
    """A class's name however a system may print it: 1 and 1.0, TRUE and True are one."""
    text = str(name).strip().lower()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def hold_out(table: Table, data: Path, seed: int, folder: Path) -> Held:
    """Part a table by the seed and write both parts: a fifth is held out, at most 50,000 rows, stratified by class."""
    frame = _read(table, data)
    y = frame[table.target]
    answered = y.notna() if y.dtype.kind != "O" and str(y.dtype) != "str" else y.str.strip() != ""
    frame = frame[answered].reset_index(drop=True)
    numbers = table.task == "regression"
    y = frame[table.target].astype(float).to_numpy() if numbers else np.array([*map(canonical, frame[table.target])])
    most = min(int(HELD_OUT * len(frame)), MOST_HELD_OUT)
    if table.group:
        parts = GroupShuffleSplit(1, test_size=most / len(frame), random_state=seed)
        train, test = next(parts.split(frame, groups=frame[table.group]))
    else:
        parted = train_test_split(
            np.arange(len(frame)), test_size=most, random_state=seed, stratify=None if numbers else y
        )
        train, test = (np.sort(part) for part in parted)
    frame = frame.drop(columns=[*table.drop, *filter(None, [table.group])])
    ending = Path(table.file).suffix or ".csv"
    files = folder / f"train{ending}", folder / f"test{ending}"
    _write(frame.iloc[train], files[0])
    _write(frame.iloc[test].drop(columns=table.target), files[1])
    return Held(*files, len(train), y[train], y[test], METRIC[table.task])


def _read(table: Table, data: Path) -> pd.DataFrame:
    if table.file.startswith("builtin:"):
        from sklearn import datasets

        return getattr(datasets, f"load_{table.file.removeprefix('builtin:')}")(as_frame=True).frame
    if table.file.endswith(".parquet"):
        return pd.read_parquet(data / table.file, dtype_backend="pyarrow")
    return pd.read_csv(data / table.file, sep=table.separator, dtype=str, keep_default_na=False)


def _write(frame: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(rows.replace_schema_metadata(), path)  # else readers take over this process's kinds
    else:
        frame.to_csv(path, index=False)
