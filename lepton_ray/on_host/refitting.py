"""A bundle's model fitted again on other rows: no search, no held-out part, and it says so. It meters nothing."""

import time
from pathlib import Path

import numpy as np

from lepton_ray.bundle.bundle import DEFAULT_THRESHOLD, Bundle, write_bundle
from lepton_ray.errors import DataError
from lepton_ray.features.chain import for_schema
from lepton_ray.features.step import learn
from lepton_ray.models.registry import family as family_named
from lepton_ray.search.evaluation import Labelled
from lepton_ray.table.source import open_source

FEWEST_ROWS = 10


def refit_bundle(bundle: Bundle, table: object, out: Path, *, seed: int, threads: int) -> Bundle:
    """Fit the bundle's family and configuration on all rows of ``table`` and seal it in ``out``.

    Raises:
        DataError: the table lacks a column, or too few of its rows have a known target.
    """
    raw = open_source(table).read()
    plan = bundle.plan
    if plan.problem.target not in raw.column_names:
        raise DataError(
            f"The table has no column '{plan.problem.target}', the target.", "Add it: a refit learns from it."
        )
    y, clean = plan.labels(raw), plan.clean(raw)
    rows = np.flatnonzero(plan.training_rows(clean, y))
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"Only {len(rows)} rows of the table have a target that the bundle knows.", f"Give at least {FEWEST_ROWS}."
        )
    step = for_schema(plan.schema, family_named(bundle.manifest.family).view)
    state = learn(step, [clean])
    family = family_named(bundle.manifest.family)
    decided = {name: said for name, said in bundle.manifest.facts.items() if name.startswith("threshold_")}
    model = family.fit(
        Labelled(step.apply(state, clean), y, plan.weights(raw)).batch(rows),
        None,
        dict(bundle.manifest.config),
        problem=bundle.problem,
        stop=lambda: False,
        seed=seed,
        threads=threads,
    )
    return write_bundle(
        out,
        plan=plan,
        view=bundle.manifest.view,
        state=state,
        model=model,
        family=bundle.manifest.family,
        config=bundle.manifest.config,
        problem=bundle.problem,
        facts={**decided, "refit_of": bundle.id, "fitted_on": "all", "fitted_rows": len(rows), "score": None},
        created=time.time(),
        threshold=DEFAULT_THRESHOLD if bundle.manifest.threshold is None else bundle.manifest.threshold,
        example=bundle.manifest.example,
    )
