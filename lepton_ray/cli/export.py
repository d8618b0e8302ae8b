"""lepton export: a bundle as one ONNX file, for where there is no Python."""

from pathlib import Path
from typing import Annotated

import typer

from lepton_ray.cli.predict import names_of


def export(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder: lepton-runs/<id>/bundle.")],
    out: Annotated[str, typer.Option(help="Where to write: FILE.onnx.")],
    trust: Annotated[str, typer.Option(help="Your own families whose code may run: module:Class.")] = "",
) -> None:
    """Write a bundle as one ONNX file, from raw columns to the prediction, for ONNX Runtime 1.23 or newer.

    Each column is an input (rows, 1): a number is a double, NaN where missing; a date is seconds since 1970 (UTC), NaN
    where missing; a category is a string without white space around it, empty where missing. The outputs are
    `prediction` (rows) and, for classes, `probabilities` (rows, classes). Needs pip install 'lepton_ray\\[onnx]'.

    Example:

      lepton export lepton-runs/20261122-101500-ab12/bundle --out churn.onnx
    """
    from lepton_ray.bundle.bundle import Bundle
    from lepton_ray.bundle.export import IN_WORDS
    from lepton_ray.errors import UsageError

    if Path(out).suffix.lower() != ".onnx":
        raise UsageError(f"{out} does not end in .onnx.", "Name it FILE.onnx.")
    made = Bundle.load(bundle, trust=names_of(trust)).export_onnx(out)
    kinds = [kind for _, kind in made.inputs]
    typer.echo(f"{made.path} ({made.size:,} bytes) gives {' and '.join(made.outputs)} from raw columns:", err=True)
    for kind, words in IN_WORDS.items():
        if kind in kinds:
            typer.echo(f"{kinds.count(kind):>4} x {kind.value:<8} {words}", err=True)
