"""lepton run: the main job."""

import sys
from typing import Annotated, Any

import typer

from lepton_ray.cli import options
from lepton_ray.cli.screen import screen_for
from lepton_ray.on_host.course import limits
from lepton_ray.spec import RunSpec, Surroundings
from lepton_ray.table.place import BUILTIN, require_there

EXAMPLES = """
Examples:

  lepton run churn.csv --target Churn

  lepton run churn.csv --target Churn --budget 0.02 --deadline 5m --value value.yaml

  lepton run sales/ --target amount --time day --drop id,comment --no-serve --json

  lepton run december.csv --target Churn --warm-start lepton-runs/20261122-184204-eb071f45/bundle

  lepton run churn.csv --target Churn --address auto --budget 0.50 --deadline 20m

  lepton run builtin:breast_cancer
"""


def run(
    table: Annotated[
        str | None, typer.Argument(help="CSV, TSV, Parquet, JSONL (also .gz), a folder of them, or builtin:NAME.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column you want to know.")] = None,
    budget: Annotated[str | None, typer.Option(help="Dollars that the run may cost: 0.02, '2 cents'.")] = None,
    deadline: Annotated[str | None, typer.Option(help="Time that it may take: 60s, 5m, 1h. Default 60s.")] = None,
    task: options.Task = None,
    metric: options.Metric = None,
    positive: options.Positive = None,
    drop: options.Drop = None,
    types: options.Types = None,
    plan: Annotated[
        str | None, typer.Option(help="A cleaning plan, as an earlier run wrote it and you edited it.")
    ] = None,
    weight: options.Weight = None,
    group: options.Group = None,
    time: options.Time = None,
    test: options.Test = None,
    value: Annotated[str | None, typer.Option(help="YAML: what right and wrong decisions are worth.")] = None,
    price: Annotated[str | None, typer.Option(help="What this machine costs, in dollars per hour.")] = None,
    warm_start: Annotated[
        str | None, typer.Option("--warm-start", help="A bundle of an earlier run: what it is made of is tried first.")
    ] = None,
    spend_it_all: Annotated[
        bool, typer.Option("--spend-it-all", help="Search to the end of the budget, whatever the next cent buys.")
    ] = False,
    max_latency: Annotated[str | None, typer.Option(help="The most one prediction may take before HTTP: 20ms.")] = None,
    max_usd_per_1000: Annotated[
        str | None, typer.Option("--max-usd-per-1000", help="The most that 1,000 predictions may cost: 0.0005.")
    ] = None,
    families: Annotated[str | None, typer.Option(help="Model families: linear,lightgbm or module:Class.")] = None,
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster to join, host:port or auto, with --budget: its nodes say prices."),
    ] = None,
    spot: Annotated[
        bool | None, typer.Option("--spot/--no-spot", help="Whether trials may run on its spot nodes. Default yes.")
    ] = None,
    priors: Annotated[
        str | None,
        typer.Option(help="Folder with a portfolio and a cost prior that you mined from trials of your own."),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Try only what can be exported as ONNX, and write model.onnx at the end.")
    ] = False,
    seed: options.Seed = None,
    out: Annotated[str | None, typer.Option(help="The run's folder. Default lepton-runs/<id>.")] = None,
    spec: Annotated[str | None, typer.Option(help="YAML with any of these options; flags win.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the endpoint.")] = None,
    margins: Annotated[
        bool | None,
        typer.Option("--margins/--no-margins", help="Seal each column's quantiles and frequent levels, for the page."),
    ] = None,
    serve: Annotated[
        bool | None, typer.Option("--serve/--no-serve", help="Serve the model at the end (default on a terminal).")
    ] = None,
    serve_for: Annotated[str | None, typer.Option(help="Serve it for so long: 30s.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
    lent: Annotated[str | None, typer.Option(hidden=True, help="The caller's folder, to remove at the end.")] = None,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", help="Finish what is in hand when standard input ends, as after Ctrl-C.")
    ] = False,
) -> None:
    """Turn a table into a priced, served model: profile, search under a hard wall, report, endpoint."""
    given: dict[str, Any] = dict(locals())
    for name in ("spec", "serve", "serve_for", "json", "until_eof", "lent"):
        given.pop(name)
    around = Surroundings.read()
    on_terminal = sys.stderr.isatty() and sys.stdin.isatty() and not json and address is None
    if serve_for is not None:
        given["serve"] = serve_for
    elif serve is not None or not spec:
        given["serve"] = "serve" if (on_terminal if serve is None else serve) else "no-serve"
    given["spend_it_all"], given["onnx"] = spend_it_all or None, onnx or None
    if json:
        given["json"] = True
    if table is not None and table.startswith(BUILTIN) and target is None:
        from lepton_ray.datasets import load_builtin_dataset

        given["target"] = load_builtin_dataset(table.removeprefix(BUILTIN)).target
    wanted = RunSpec.from_options(given, spec)
    if wanted.address is None:
        limits(wanted, around)  # what cannot end well is refused before the imports of the rest
    require_there(wanted.table)
    screen = screen_for(json=json)
    from lepton_ray.pipeline import drive

    try:
        drive(wanted, around, screen)
    finally:
        screen.close()


run.__doc__ = (run.__doc__ or "") + EXAMPLES
