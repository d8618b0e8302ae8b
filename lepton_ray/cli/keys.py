"""lepton keys: who may ask an endpoint; made, listed, revoked."""

import time
from typing import Annotated

import typer

from lepton_ray.cli.predict import names_of
from lepton_ray.serving.keys import DEFAULT_FILE, KeyFile

File = Annotated[str, typer.Option("--file", help="The file of keys, which `lepton serve --keys FILE` reads.")]
Name = Annotated[str, typer.Argument(help="What the key is called in the list and in the log.")]

app = typer.Typer(help="Keys of an endpoint: add, list, revoke.", no_args_is_help=True)


@app.command("add")
def add(
    name: Name,
    scopes: Annotated[str, typer.Option(help="What it opens: predict, admin (the metrics), or both.")] = "predict",
    file: File = DEFAULT_FILE,
) -> None:
    """Make a key. It is the one line on standard output, and is shown this once; the file holds its hash.

    Example:

      lepton keys add shop --scopes predict
    """
    shown = KeyFile(file).add(name, names_of(scopes), _now())
    typer.echo(shown)
    typer.echo(f"kept as a hash in {file}; whoever asks sends `Authorization: Bearer` with the key", err=True)


@app.command("list")
def list_keys(file: File = DEFAULT_FILE) -> None:
    """List the keys: name, scopes, when it was made, and when it was revoked.

    Example: lepton keys list
    """
    keys = KeyFile(file).read()
    width = max((len(key.name) for key in keys), default=4)
    for key in keys:
        ended = f"revoked {key.revoked}" if key.revoked else "holds"
        typer.echo(f"{key.name:<{width}}  {','.join(key.scopes):<13}  {key.created}  {ended}")


@app.command("revoke")
def revoke(name: Name, file: File = DEFAULT_FILE) -> None:
    """Revoke a key: every endpoint that reads the file refuses it within a second, without a restart.

    Example: lepton keys revoke shop
    """
    KeyFile(file).revoke(name, _now())
    typer.echo(f"{name} is revoked", err=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
