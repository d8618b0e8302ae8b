"""Options that more than one verb takes, each said once. It knows nothing about what they do."""

from typing import Annotated

import typer

Task = Annotated[str | None, typer.Option(help="auto, binary, multiclass or regression.")]
Metric = Annotated[str | None, typer.Option(help="auto, roc_auc, log_loss, accuracy, f1, rmse, mae, r2, …")]
Positive = Annotated[str | None, typer.Option(help="The class that counts as positive.")]
Drop = Annotated[str | None, typer.Option(help="Columns to leave out: A,B.")]
Types = Annotated[str | None, typer.Option(help="Kinds of columns: a=category,b=date,c=number,d=text.")]
Weight = Annotated[str | None, typer.Option(help="Column with the weight of each row.")]
Group = Annotated[str | None, typer.Option(help="Column whose equal values stay on one side of every split.")]
Time = Annotated[str | None, typer.Option(help="Column in whose order rows are split: the latest are held out.")]
Test = Annotated[str | None, typer.Option(help="A table to measure the score on instead of held-out rows.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every split and draw.")]
