"""lepton resume: go on with a run that was broken off."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lepton_ray.cli.screen import screen_for
from lepton_ray.errors import UsageError
from lepton_ray.spec import Surroundings


def resume(
    run: Annotated[
        str | None, typer.Argument(help="A run's id (its beginning will do), or its folder; else the last broken off.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Another port for the endpoint.")] = None,
    serve: Annotated[
        bool | None,
        typer.Option("--serve/--no-serve", help="Serve the model at the end; else as the run was asked to."),
    ] = None,
    serve_for: Annotated[str | None, typer.Option(help="Serve it for so long: 30s.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", help="Finish what is in hand when standard input ends, as after Ctrl-C.")
    ] = False,
) -> None:
    """Go on with a run whose process was killed or whose machine went down; the time in between costs nothing.

    What was spent, every trial that had ended and the best model stay; the table must still be the same.

    Examples:

      lepton resume

      lepton resume 20261122-1842
    """
    if run is None:
        raise UsageError("No run was named.", "See lepton runs.")  # the supervisor has found one, or asked
    changes: dict[str, Any] = {"json": json, "port": port}
    if serve is not None:
        changes["serve"] = "serve" if serve else "no-serve"
    if serve_for is not None:
        changes["serve"] = serve_for
    screen = screen_for(json=json)
    from lepton_ray import pipeline
    from lepton_ray.on_host.resuming import spec_of

    given = {name: one for name, one in changes.items() if one is not None}
    try:
        pipeline.resume(spec_of(Path(run), **given), Path(run), Surroundings.read(), screen)
    finally:
        screen.close()
