"""A bundle's models fitted again on other rows: no search, no held-out part, and it says so. It meters nothing."""

import time
from pathlib import Path

import numpy as np

from lepton_ray.bundle.blend import Blend, Member
from lepton_ray.bundle.bundle import DEFAULT_THRESHOLD, Bundle, write_bundle
from lepton_ray.bundle.files import require_new
from lepton_ray.datasets import open_table
from lepton_ray.errors import DataError
from lepton_ray.features.chain import for_schema
from lepton_ray.features.step import learn
from lepton_ray.models.registry import family as family_named
from lepton_ray.search.evaluation import Labelled

FEWEST_ROWS = 10


def refit_bundle(bundle: Bundle, table: object, out: Path, *, seed: int, threads: int) -> Bundle:
    """Fit the bundle's families and configurations on all rows of ``table`` and seal it in ``out``.

    Raises:
        DataError: the table lacks a column, or too few of its rows have a known target.
        BundleError: ``out`` exists, found out before anything is fitted.
    """
    require_new(out)
    raw = open_table(table).read()
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
    weight = plan.weights(raw)
    weighty = len(rows) if weight is None else int((weight[rows] > 0).sum())
    if weighty < FEWEST_ROWS:
        raise DataError(
            f"Only {weighty} rows of the table weigh more than nothing by {plan.weight!r}.",
            f"Give at least {FEWEST_ROWS}.",
        )
    views = {view: for_schema(plan.schema, view) for view in bundle.manifest.views}
    states = {view: learn(step, [clean]) for view, step in views.items()}
    seen = {view: Labelled(step.apply(states[view], clean), y, weight).batch(rows) for view, step in views.items()}
    decided = {name: said for name, said in bundle.manifest.facts.items() if name.startswith("threshold_")}
    members = []
    for one in bundle.manifest.members:
        model = family_named(one.family).fit(
            seen[one.view],
            None,
            dict(one.config),
            problem=bundle.problem,
            stop=lambda: False,
            seed=seed,
            threads=threads,
        )
        members.append(Member(one.family, one.view, one.config, model, one.share))
    return write_bundle(
        out,
        plan=plan,
        blend=Blend(plan.schema, bundle.problem, tuple(members), states, bundle.manifest.temperature),
        facts={**decided, "refit_of": bundle.id, "fitted_on": "all", "fitted_rows": len(rows), "score": None},
        created=time.time(),
        threshold=DEFAULT_THRESHOLD if bundle.manifest.threshold is None else bundle.manifest.threshold,
        interval=bundle.manifest.interval,
        example=bundle.manifest.example,
        margins=bundle.margins,
    )
