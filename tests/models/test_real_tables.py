"""Real tables that are not shipped: set LEPTON_SHARED_DATA to the folder that holds them."""

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.features.chain import for_schema
from lepton_ray.features.step import learn
from lepton_ray.models.family import Batch
from lepton_ray.models.linear import LinearFamily
from lepton_ray.table.schema import Column, Kind, Problem, Schema, Task
from lepton_ray.training.metrics import METRICS

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("LEPTON_SHARED_DATA" not in os.environ, reason="LEPTON_SHARED_DATA is not set"),
]


def columns_of(name: str, encoding: str = "utf-8") -> dict[str, list[str]]:
    with (Path(os.environ["LEPTON_SHARED_DATA"]) / name).open(encoding=encoding, newline="") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def learned(texts: list[str], y: np.ndarray, classes: tuple[str, ...]):
    task = Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    step = for_schema(Schema((Column("text", Kind.TEXT),)), "linear")
    block = pa.table({"text": pa.array(texts, pa.string())})
    state = learn(step, [block])
    problem = Problem("target", task, classes, "log_loss")
    options = {"problem": problem, "stop": lambda: False, "seed": 0, "threads": 2}
    model = LinearFamily().fit(Batch(step.apply(state, block), y), None, {}, **options)
    return lambda texts: model.predict(step.apply(state, pa.table({"text": pa.array(texts, pa.string())})))


def test_spam_is_told_from_ham() -> None:
    table = columns_of("sms_spam.csv", "latin-1")
    rows = sorted(set(zip(table["text"], table["type"], strict=True)))
    texts, y = [text for text, _ in rows], np.array([kind == "spam" for _, kind in rows], dtype=np.int64)
    held = np.random.default_rng(0).random(len(y)) < 0.2
    predict = learned([text for text, out in zip(texts, held, strict=True) if not out], y[~held], ("ham", "spam"))
    said = predict([text for text, out in zip(texts, held, strict=True) if out])
    assert METRICS["roc_auc"].score(y[held], said) >= 0.985


@pytest.mark.slow
def test_77_kinds_of_question_are_told_apart() -> None:
    train, test = columns_of("banking77_train.csv"), columns_of("banking77_test.csv")
    classes = tuple(sorted(set(train["category"])))
    y, later = (np.array([classes.index(kind) for kind in part["category"]]) for part in (train, test))
    said = learned(list(train["text"]), y, classes)(list(test["text"]))
    assert METRICS["accuracy"].score(later, said) >= 0.90
