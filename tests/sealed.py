"""Small sealed bundles, made by the real floors from a table with a column of every kind."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lepton_ray.bundle.blend import Blend, Member
from lepton_ray.bundle.bundle import Bundle, write_bundle
from lepton_ray.bundle.margins import margins_of
from lepton_ray.features.chain import for_schema
from lepton_ray.features.step import learn
from lepton_ray.models.family import Batch
from lepton_ray.models.registry import family
from lepton_ray.table.cleaning import CleaningPlan, make_plan
from lepton_ray.table.profile import profile_block

ROWS = 240
ROW: dict[str, Any] = {"tenure": 12, "city": "Ulm", "joined": "2024-03-05", "note": "slow line and a loud fan"}
_WORDS = (
    "slow line and a loud fan",
    "all is well with the new line",
    "wants a cheaper offer at once",
    "no words for it",
)


def raw_table(rows: int = ROWS) -> pa.Table:
    """A raw block as a CSV file gives it: every column is text, some cells are blank."""
    rng = np.random.default_rng(7)
    tenure = rng.integers(0, 72, rows)
    city = rng.choice(["Ulm", "Bonn", "Kiel"], rows)
    day = rng.integers(0, 700, rows)
    note = rng.choice(len(_WORDS), rows)
    score = tenure / 72 + (city == "Ulm") * 0.4 + note * 0.1 + rng.normal(0, 0.1, rows)
    return pa.table(
        {
            "tenure": ["" if i % 17 == 0 else str(value) for i, value in enumerate(tenure)],
            "city": ["" if i % 23 == 0 else str(value) for i, value in enumerate(city)],
            "joined": [str(np.datetime64("2023-01-01") + int(value)) for value in day],
            "note": [f"{_WORDS[value]} {i % 97}" for i, value in enumerate(note)],
            "leaves": np.where(score > 0.8, "yes", "no").tolist(),
            "level": np.array(["low", "mid", "top"])[np.digitize(score, [0.5, 0.9])].tolist(),
            "value": [f"{value:.3f}" for value in score],
        }
    )


TARGETS = {"binary": "leaves", "multiclass": "level", "regression": "value"}
TYPES = {"tenure": "number", "city": "category", "joined": "date", "note": "text"}


def parts(
    task: str = "binary", family_name: str = "lightgbm", without: tuple[str, ...] = (), seed: int = 1
) -> dict[str, Any]:
    """Everything that ``write_bundle`` wants, fitted on the small table ``without`` some columns."""
    return dict(_parts(task, family_name, without, seed))


@cache
def _parts(task: str, family_name: str, without: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Fit each once."""
    table = raw_table()
    drop = (*without, *(name for name in TARGETS.values() if name != TARGETS[task]))
    types = {name: kind for name, kind in TYPES.items() if name not in without}
    plan: CleaningPlan = make_plan(profile_block(table), target=TARGETS[task], drop=drop, types=types)
    return fitted(table, plan, family_name, seed) | {"example": ROW}


def fitted(table: pa.Table, plan: CleaningPlan, family_name: str, seed: int = 1) -> dict[str, Any]:
    """Everything that ``write_bundle`` wants, fitted on a table by a plan."""
    clean, labels = plan.clean(table), plan.labels(table)
    made_by = family(family_name)
    step = for_schema(plan.schema, made_by.view)
    state = learn(step, [clean])
    config = made_by.configs(plan.problem, clean.num_rows, len(plan.schema.columns))[0]
    batch = Batch(step.apply(state, clean), labels)
    model = made_by.fit(batch, None, config, problem=plan.problem, stop=lambda: False, seed=seed, threads=1)
    return {
        "plan": plan,
        "blend": Blend(
            plan.schema,
            plan.problem,
            (Member(family_name, made_by.view, config, model),),
            {made_by.view: state},
        ),
        "facts": {"score": 0.9},
        "created": 1_700_000_000.0,
        "example": {name: table[name][0].as_py() for name in plan.schema.names},
        "margins": margins_of(clean, plan.schema),
    }


def seal(folder: Path, task: str = "binary", family_name: str = "lightgbm", **changes: Any) -> Bundle:
    """Fit and write one bundle."""
    return write_bundle(folder, **parts(task, family_name) | changes)
