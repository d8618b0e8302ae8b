"""The networks over texts: they read words and what lies beside them, and say the same again from disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.features.chain import for_schema
from lepton_ray.features.step import learn
from lepton_ray.features.text import without_grams
from lepton_ray.models.family import Batch
from lepton_ray.models.registry import family
from lepton_ray.table.schema import Column, Kind, Problem, Schema, Task

for package in ("tokenizers", "torch"):
    pytest.importorskip(package, reason="needs the extra [tokenizers]")

pytestmark = pytest.mark.exam

PROBLEM = Problem("good", Task.BINARY, ("no", "yes"), "log_loss", "yes")
SCHEMA = Schema((Column("note", Kind.TEXT), Column("size", Kind.NUMBER), Column("city", Kind.CATEGORY)))
SMALL: dict[str, Any] = {"width": 32, "hidden": 32, "epochs": 40, "rate": 1e-2, "blank": 0.0}


def rows(n: int = 300) -> tuple[pa.Table, np.ndarray]:
    """The answer is a pair of words whose order matters, or a size."""
    rng = np.random.default_rng(0)
    words = np.array(["not", "good", "room", "late", "bed", "好"])
    notes = [" ".join(rng.choice(words, 6)) for _ in range(n)]
    size = rng.normal(size=n)
    city = [None if draw == 3 else f"city {draw}" for draw in rng.integers(0, 4, n)]
    block = pa.table({"note": notes, "size": size, "city": pa.array(city, pa.string())})
    return block, np.array(["not good" in note for note in notes]).astype(np.int64) | (size > 0.8)


@pytest.mark.parametrize("name", ["text_cnn", "text_transformer"])
def test_it_reads_the_order_of_words_and_the_columns_beside(name: str, tmp_path: Path) -> None:
    block, y = rows()
    step = for_schema(SCHEMA, "text")
    X = step.apply(learn(step, [block]), block)
    how: dict[str, Any] = {"problem": PROBLEM, "stop": lambda: False, "seed": 0, "threads": 1}
    model = family(name).fit(Batch(X, y), None, SMALL, **how)
    said = model.predict(X)
    assert ((said[:, 1] > 0.5) == y).mean() > max(y.mean(), 1 - y.mean()) + 0.05
    large = pa.table({"note": block["note"], "size": np.full(300, 2.5), "city": block["city"]})
    assert model.predict(step.apply(learn(step, [block]), large))[:, 1].mean() > said[:, 1].mean() + 0.2
    model.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.safetensors", "tokenizer.json"]
    assert np.array_equal(family(name).load(tmp_path).predict(X), said)


def test_tokens_are_learned_alike_and_a_chinese_character_is_a_word() -> None:
    from lepton_ray.models.tokens import Tokens

    texts = ["酒店很好", "酒店不好", "the rooms were late", "The ROOMS were late"] * 5
    first, again = (Tokens.learned(texts, most=100, longest=64) for _ in range(2))
    assert first.to_json() == again.to_json()
    numbers = Tokens.from_json(first.to_json(), first.length).numbers([*texts[:4], "", "☃"])
    assert np.array_equal(numbers[2], numbers[3]) and numbers[0][0] == numbers[1][0]
    assert (numbers[0] > 0).sum() == 4 and not numbers[4].any() and numbers[5].any()


def test_n_grams_of_the_texts_themselves_are_left_to_those_who_read_no_texts() -> None:
    block, _ = rows(60)
    step = for_schema(SCHEMA, "text")
    X = step.apply(learn(step, [block]), block)
    assert {name for name, _ in X.groups} == {"size", "city", "note (words)", "note (characters)"}
    left = without_grams(X)
    assert left.sparse is not None and X.sparse is not None and {name for name, _ in left.groups} == {"size", "city"}
    assert left.sparse.shape[1] == sum(width for _, width in left.groups)
    assert np.array_equal(left.sparse.toarray(), X.sparse[:, : left.sparse.shape[1]].toarray())
