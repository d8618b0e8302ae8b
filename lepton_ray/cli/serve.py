"""lepton serve: a bundle behind Ray Serve on this host, until Ctrl-C."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from lepton_ray.cli.predict import names_of
from lepton_ray.on_ray.port import HOST, Port


def serve(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder: lepton-runs/<id>/bundle.")],
    port: Annotated[int | None, typer.Option(help="Port on loopback; 8000 or any free one where not given.")] = None,
    trust: Annotated[str, typer.Option(help="Your own families whose code may run: module:Class.")] = "",
    keys: Annotated[str, typer.Option(help="Let in who has a key of this file; see lepton keys.")] = "",
    limits: Annotated[str, typer.Option(help="rate=50,rows=1000: see the README for all and their defaults.")] = "",
    log: Annotated[str, typer.Option(help="Folder for one line about each request, without values of rows.")] = "",
    grpc: Annotated[bool, typer.Option("--grpc", help="Speak Open Inference Protocol v2 over gRPC, too.")] = False,
    grpc_port: Annotated[int | None, typer.Option(help="Its port; 9000 or any free one where not given.")] = None,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End when standard input ends, too.")] = False,
) -> None:
    """Serve a bundle over HTTP on loopback: Open Inference Protocol v2 and POST /predict with JSON rows.

    Its address is the one line on standard output, written once it has answered.

    Example:

      lepton serve lepton-runs/20261122-101500-ab12/bundle --port 8080 --keys lepton-keys.json --limits rate=50
    """
    from lepton_ray.serving.guarding import Guarding

    guarding = Guarding.of(limits=limits, keys=keys, log=log)
    reserved = Port.reserve(port)
    called = Port.reserve(grpc_port, first=9000) if grpc or grpc_port is not None else None
    from lepton_ray.bundle.bundle import Bundle
    from lepton_ray.bundle.kinds import load_any
    from lepton_ray.money.prices import machine_price
    from lepton_ray.on_host import messages
    from lepton_ray.on_ray.serving import FrontDoor, bring_up
    from lepton_ray.on_ray.session import Session, short_temp_dir
    from lepton_ray.spec import Surroundings

    loaded = load_any(bundle, trust=names_of(trust))
    around = Surroundings.read()
    rate, temp = machine_price(around.vcpus).per_hour, short_temp_dir()
    if around.wall_fd is not None:
        messages.say(around.wall_fd, messages.Service(rate.micros, (str(temp),)))
    typer.echo(f"bringing up {loaded.id[:12]} on Ray Serve …", err=True)
    session = Session(temp, cpus=around.cpus, object_store_bytes=0).start()
    session.wait(60)
    door, families = FrontDoor(reserved, guarding, grpc=called).open(), names_of(trust)
    endpoint = bring_up(door, Path(bundle), loaded.manifest.example, trust=families, per_hour=rate)
    guide = f"docs at {endpoint.url}/docs" if isinstance(loaded, Bundle) else f"inputs and routes at {endpoint.url}"
    typer.echo(f"{guide}; this machine costs {rate} per hour; Ctrl-C ends it", err=True)
    if called is not None:
        typer.echo(f"gRPC at {HOST}:{called.number}, by the same keys and limits", err=True)
    if around.wall_fd is not None:
        messages.say(around.wall_fd, messages.Serving(endpoint.url))
    threading.Event().wait()  # Ctrl-C ends it here, and the supervisor all that belongs to it
