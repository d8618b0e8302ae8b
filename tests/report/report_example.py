"""Two runs to draw reports from: a real two-class table and a real number, with simulated searches around them."""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.prices import machine_price
from lepton_ray.money.receipt import Receipt
from lepton_ray.money.usage import Usage
from lepton_ray.report.facts import DataFacts, Measurement, ReportFacts, Spending, TrialFacts, Winner
from lepton_ray.report.predictions import Predictions
from lepton_ray.report.roi import Costs, Roi, measure_roi
from lepton_ray.report.value import Value

DECISION = """
true_positive: 300
false_positive: -180
true_negative: 0
false_negative: -400
decisions_per_year: 1200
project_cost: 8000
"""
ERROR = "unit_of_error: 0.05\ndecisions_per_year: 40000\nhorizon_years: 3\n"
COSTS = Costs(Dollars(7_900), Dollars(96_000))


def receipt_of(trials: tuple[TrialFacts, ...]) -> Receipt:
    """What such a search costs on two vCPUs, from a real ledger."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder, "ledger.jsonl"), "quiet-heron", machine_price(2), 1_795_000_000.0)
        ledger.note("budget", Budget.resolve(None, 60.0, ledger.machine.per_hour).to_dict())
        for at, stage in ((0.31, "read"), (2.2, "search"), (43.0, "refit"), (46.5, "report")):
            ledger.enter(stage, at)
        for t in trials:
            ledger.attribute(Usage("search", t.id, 3.0, 3.0 + t.seconds, 1, t.family, t.driver, t.state))
        ledger.close(48.1)
        return Receipt.from_ledger(ledger, bundle="9f2c41d06be5a7d3c0e1")


def search(
    scores: tuple[float, float], spread: float, rng: np.random.Generator, trials: int = 26
) -> tuple[TrialFacts, ...]:
    """Make up a search that goes from the first score to the second, with a failure in it."""
    found = [TrialFacts("t00", "constant", {}, 1, scores[0], 0.01, Dollars(1), "host", "finished")]
    for i in range(1, trials):
        family = ("linear", "lightgbm", "lightgbm", "trees")[i % 4]
        seconds = float(rng.lognormal({"linear": -0.5, "lightgbm": 1.0, "trees": 1.4}[family], 0.6))
        score = scores[1] - spread * float(rng.exponential()) / (1 + np.log1p(seconds))
        config = {"learning_rate": float(rng.uniform(0.01, 0.3)), "num_leaves": int(rng.integers(8, 128))}
        state, rung = ("finished", 1) if i % 3 else ("stopped", 0)
        found.append(
            TrialFacts(
                f"t{i:02d}",
                family,
                config if family != "linear" else {"C": 1.0},
                rung,
                score,
                seconds,
                Dollars(round(seconds * 26.7)),
                "host" if i < 4 else "ray",
                state,
                "" if rung else "others were ahead by then",
            )
        )
    failed = TrialFacts(
        "t99", "lightgbm", {"num_leaves": 4096}, 0, None, 3.1, Dollars(83), "ray", "failed", "out of memory"
    )
    return (*found, failed)


def binary_facts() -> ReportFacts:
    """Breast cancer: which growths are malignant."""
    rng = np.random.default_rng(0)
    table = load_breast_cancer()
    X = StandardScaler().fit_transform(table.data)[:, ::3] + rng.normal(0, 1.2, (len(table.data), 10))
    y = 1 - table.target
    X_seen, X_held, y_seen, y_held = train_test_split(X, y, test_size=0.35, random_state=0, stratify=y)
    model = LogisticRegression()
    out_of_fold = Predictions(y_seen, cross_val_predict(model, X_seen, y_seen, method="predict_proba"))
    held = Predictions(y_held, model.fit(X_seen, y_seen).predict_proba(X_held))
    auc = float(roc_auc_score(y_held, held.values[:, 1]))
    trials = search((0.5, auc + 0.004), 0.03, rng)
    best = max((t for t in trials if t.score and t.rung), key=lambda t: t.score or 0)
    return ReportFacts(
        run="2026-11-22-1731-quiet-heron",
        task="binary",
        classes=("benign", "malignant"),
        data=DataFacts(
            source="breast_cancer.csv",
            target="diagnosis",
            rows=len(y),
            kinds={"number": 10, "category": 2, "date": 1, "text": 0},
            dropped=("id", "exported_at"),
            size_bytes=121_950,
            rejected_rows=3,
            rejected_file="runs/quiet-heron/rejected.csv",
            target_counts={"benign": int((y == 0).sum()), "malignant": int(y.sum())},
            cleaning=(
                "“id” has a different value in every row, so it cannot teach anything: not used.",
                "“mean radius”: 4 blanks are filled with the middle value of the column, and a new column marks them.",
                "2 rows are exact copies of earlier rows: not used for training.",
            ),
            findings=(
                "“exported_at” alone predicts the target almost perfectly; it may be known only afterwards: not used.",
            ),
        ),
        spending=Spending(
            Dollars(1_283), 48.1, Dollars(1_600), 60.0, "deadline", Dollars(96_000), "the deadline was near"
        ),
        measurement=Measurement(
            "roc_auc",
            True,
            auc,
            auc - 0.021,
            min(1, auc + 0.014),
            0.5,
            "held_out",
            len(y_held),
            also={"log_loss": 0.2113, "accuracy": 0.9251},
        ),
        trials=trials,
        winner=Winner(best.family, (best.id,), True),
        importances={name: float(abs(c)) for name, c in zip(table.feature_names[::3], model.coef_[0], strict=True)},
        held_out=held,
        roi=measure_roi(Value.parse(DECISION), out_of_fold, held, COSTS, answer="malignant", rng=rng),
        receipt=receipt_of(trials),
        endpoint="http://127.0.0.1:8000/predict",
        bundle="9f2c41d06be5a7d3c0e1",
        written="22 November 2026, 17:32",
        versions={"lepton_ray": "0.1.0", "ray": "2.60.0", "lightgbm": "4.6.0", "python": "3.11.7"},
        commands=(
            ("The same run once more:", "lepton run breast_cancer.csv --target diagnosis --deadline 60s --seed 0"),
            ("Predict a new table:", "lepton predict runs/quiet-heron/bundle new.csv --out predicted.csv"),
        ),
    )


def regression_facts() -> ReportFacts:
    """Diabetes: how far the disease has gone after a year; few rows, so cross-validated."""
    rng = np.random.default_rng(1)
    X, y = load_diabetes(return_X_y=True)
    told = Predictions(y, cross_val_predict(Ridge(0.1), X, y))
    error = float(np.sqrt(np.mean((told.values - y) ** 2)))
    trials = search((77.0, error + 0.3), -4.0, rng)
    best = min((t for t in trials if t.score and t.rung), key=lambda t: t.score or 0)
    return ReportFacts(
        run="diabetes-1",
        task="regression",
        data=DataFacts(
            "diabetes.csv",
            "progression",
            len(y),
            {"number": 10},
            target_range=(float(y.min()), float(np.median(y)), float(y.max())),
        ),
        spending=Spending(Dollars(400), 15.0, None, 15.0, "deadline", Dollars(96_000)),
        measurement=Measurement(
            "rmse",
            False,
            error,
            error - 2.3,
            error + 2.2,
            float(y.std()),
            "cross_validation",
            len(y),
            5,
            3,
            {"r2": 0.482},
        ),
        trials=trials,
        winner=Winner(best.family, (best.id,), False, "There was no money left for it."),
        held_out=told,
        roi=_number_roi(told, rng),
        written="22 November 2026",
    )


def _number_roi(told: Predictions, rng: np.random.Generator) -> Roi:
    return measure_roi(Value.parse(ERROR), told, None, COSTS, answer="progression", rng=rng)
