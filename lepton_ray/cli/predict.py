"""lepton predict: a table in, the same rows with predictions out."""

from pathlib import Path
from typing import Annotated

import typer


def predict(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder: lepton-runs/<id>/bundle.")],
    table: Annotated[str, typer.Argument(help="The table to predict: whatever lepton run reads, builtin:NAME too.")],
    out: Annotated[str, typer.Option(help="Where to write: FILE.csv or FILE.parquet.")],
    keep: Annotated[str, typer.Option(help="Columns of the table to keep beside the predictions: id,name.")] = "",
    trust: Annotated[str, typer.Option(help="Your own families whose code may run: module:Class.")] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Also write what each column contributed: slow, some 10 ms a row.")
    ] = False,
) -> None:
    """Predict a table: `prediction` and, for classes, `probability_<class>`; one row out per row in, order kept.

    For a number, the truth lies between `prediction_low` and `prediction_high` nine times in ten.

    Example:

      lepton predict lepton-runs/20261122-101500-ab12/bundle new.csv --out predictions.csv --keep id
    """
    from lepton_ray.bundle.predictor import predict_file

    done = predict_file(Path(bundle), table, Path(out), keep=names_of(keep), trust=names_of(trust), explain=explain)
    typer.echo(f"{done.rows:,} rows predicted into {done.path}", err=True)
    if done.rejected_path is not None:
        typer.echo(f"{done.rejected:,} ragged rows have no prediction; they lie in {done.rejected_path}", err=True)


def names_of(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
