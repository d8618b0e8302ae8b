"""lepton refit: the same model, plan and configuration on newer rows, without a search."""

from pathlib import Path
from typing import Annotated

import typer

from lepton_ray.cli.predict import names_of


def refit(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder: lepton-runs/<id>/bundle.")],
    table: Annotated[
        str,
        typer.Argument(help="The table to learn from, builtin:NAME too; it needs the bundle's columns and its target."),
    ],
    out: Annotated[str, typer.Option(help="Folder of the new bundle; must not exist yet.")],
    seed: Annotated[int, typer.Option(help="Seed of the fit.")] = 0,
    trust: Annotated[str, typer.Option(help="Your own families whose code may run: module:Class.")] = "",
) -> None:
    """Fit a bundle's model again on another table, with its cleaning plan and configuration.

    Example:

      lepton refit lepton-runs/20261122-101500-ab12/bundle december.csv --out churn-december
    """
    from lepton_ray.bundle.bundle import Bundle
    from lepton_ray.on_host.refitting import refit_bundle
    from lepton_ray.spec import Surroundings

    made = refit_bundle(
        Bundle.load(bundle, trust=names_of(trust)), table, Path(out), seed=seed, threads=Surroundings.read().cpus
    )
    typer.echo(f"bundle {made.id[:12]} fitted on {made.manifest.facts['fitted_rows']:,} rows, in {out}", err=True)
