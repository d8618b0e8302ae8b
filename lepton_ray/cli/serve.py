"""lepton serve: a bundle behind Ray Serve on this host, until Ctrl-C."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from lepton_ray.cli.predict import names_of


def serve(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder: lepton-runs/<id>/bundle.")],
    port: Annotated[int | None, typer.Option(help="Port on loopback; 8000 or any free one where not given.")] = None,
    trust: Annotated[str, typer.Option(help="Your own families whose code may run: module:Class.")] = "",
) -> None:
    """Serve a bundle over HTTP on loopback: Open Inference Protocol v2 and POST /predict with JSON rows.

    Example:

      lepton serve lepton-runs/20261122-101500-ab12/bundle --port 8080
    """
    from lepton_ray.bundle.bundle import Bundle
    from lepton_ray.money.prices import machine_price
    from lepton_ray.on_ray.port import Port
    from lepton_ray.on_ray.serving import FrontDoor, deploy, first_request
    from lepton_ray.on_ray.session import Session, short_temp_dir
    from lepton_ray.spec import Surroundings

    loaded = Bundle.load(bundle, trust=names_of(trust))
    reserved = Port.reserve(port)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    around = Surroundings.read()
    typer.echo(f"bringing up {loaded.id[:12]} on Ray Serve …", err=True)
    session = Session(short_temp_dir(), cpus=around.cpus, object_store_bytes=0).start()
    try:
        session.wait(60)
        FrontDoor(reserved).open().wait()
        endpoint = deploy(Path(bundle), port=reserved.number, trust=(loaded.manifest.family,))
        first_request(endpoint.url, loaded.manifest.example)
        rate = machine_price(around.vcpus).per_hour
        typer.echo(f"{endpoint.url}  (docs at {endpoint.url}/docs; this machine costs {rate} per hour; Ctrl-C ends it)")
        ended.wait()
    finally:
        session.stop()
