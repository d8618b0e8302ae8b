"""lepton serve: a bundle behind Ray Serve on this host, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from lepton_ray.cli.predict import names_of
from lepton_ray.on_ray.port import HOST, Port

ZERO = (
    "No replica runs after this long without a request: 10m. Any request wakes it, a health check or a scrape, too. On "
    "a laptop this saves no money, only memory; on a cluster a node, once Ray's autoscaler takes that away."
)
WAKE = "How long a request may wait for the first replica then; 503 after it: 30s."


def serve(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder: lepton-runs/<id>/bundle.")],
    port: Annotated[int | None, typer.Option(help="Port on loopback; 8000 or any free one where not given.")] = None,
    trust: Annotated[str, typer.Option(help="Your own families whose code may run: module:Class.")] = "",
    keys: Annotated[str, typer.Option(help="Let in who has a key of this file; see lepton keys.")] = "",
    limits: Annotated[str, typer.Option(help="rate=50,rows=1000: see the README for all and their defaults.")] = "",
    log: Annotated[str, typer.Option(help="Folder for one line about each request, without values of rows.")] = "",
    grpc: Annotated[bool, typer.Option("--grpc", help="Speak Open Inference Protocol v2 over gRPC, too.")] = False,
    grpc_port: Annotated[int | None, typer.Option(help="Its port; 9000 or any free one where not given.")] = None,
    p99: Annotated[str, typer.Option(help="Promise that 99 of 100 requests are answered within this: 50ms.")] = "",
    max_usd_per_hour: Annotated[str, typer.Option(help="The most its machines may cost an hour: 0.40.")] = "",
    min_replicas: Annotated[int | None, typer.Option(help="Replicas that always run; 1 where not given.")] = None,
    max_replicas: Annotated[int | None, typer.Option(help="Replicas at most; the cores where not given.")] = None,
    scale_to_zero_after: Annotated[str, typer.Option(help=ZERO)] = "",
    wake_timeout: Annotated[str, typer.Option(help=WAKE)] = "",
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End when standard input ends, too.")] = False,
) -> None:
    """Serve a bundle over HTTP on loopback: Open Inference Protocol v2 and POST /predict with JSON rows.

    Its address is the one line on standard output, written once it has answered.

    Replicas are added when requests queue or the promised p99 is in danger, and taken away after a minute in which
    fewer would have sufficed. The cap on dollars counts whole machines: on one machine a replica more costs nothing.

    Examples:

      lepton serve lepton-runs/20261122-101500-ab12/bundle --port 8080 --keys lepton-keys.json --limits rate=50

      lepton serve BUNDLE --p99 50ms --max-usd-per-hour 0.40

      lepton serve BUNDLE --scale-to-zero-after 10m --wake-timeout 20s
    """
    from lepton_ray.money.prices import machine_price
    from lepton_ray.serving.guarding import Guarding
    from lepton_ray.serving.terms import Asked, Scaling
    from lepton_ray.spec import Surroundings

    guarding, around = Guarding.of(limits=limits, keys=keys, log=log), Surroundings.read()
    rate = machine_price(around.vcpus).per_hour
    asked = Asked(p99, max_usd_per_hour, min_replicas, max_replicas, scale_to_zero_after, wake_timeout)
    scaling = Scaling.on_one_host(around.cpus, rate, asked, guarding.limits)
    reserved = Port.reserve(port)
    called = Port.reserve(grpc_port, first=9000) if grpc or grpc_port is not None else None
    from lepton_ray.bundle.bundle import Bundle
    from lepton_ray.bundle.kinds import load_any
    from lepton_ray.on_host import messages
    from lepton_ray.on_ray.serving import APPLICATION, FrontDoor, bring_up
    from lepton_ray.on_ray.session import Session, short_temp_dir

    loaded = load_any(bundle, trust=names_of(trust))
    temp = short_temp_dir()
    if around.wall_fd is not None:
        messages.say(around.wall_fd, messages.Service(rate.micros, (str(temp),)))
    typer.echo(f"bringing up {loaded.id[:12]} on Ray Serve …", err=True)
    session = Session(temp, cpus=around.cpus, object_store_bytes=0).start()
    session.wait(60)
    door, families = FrontDoor(reserved, guarding, scaling.terms, grpc=called).open(), names_of(trust)
    row = loaded.manifest.example
    endpoint = bring_up(door, Path(bundle), row, trust=families, per_hour=rate, scaling=scaling)
    guide = f"docs at {endpoint.url}/docs" if isinstance(loaded, Bundle) else f"inputs and routes at {endpoint.url}"
    typer.echo(f"{guide}; this machine costs {rate} per hour; Ctrl-C ends it", err=True)
    if called is not None:
        typer.echo(f"gRPC at {HOST}:{called.number}, by the same keys and limits", err=True)
    if around.wall_fd is not None:
        messages.say(around.wall_fd, messages.Serving(endpoint.url))
    from lepton_ray.on_ray import board

    board.follow(APPLICATION, lambda scale: typer.echo(f"scaling: {scale}", err=True))  # until Ctrl-C
