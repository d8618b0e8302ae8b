"""lepton doctor: whether this machine can do what a run needs, each line a check that was made now."""

import platform
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console

from lepton_ray.errors import EnvironmentFault
from lepton_ray.spec import Surroundings

NEEDED = ("ray", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "lightgbm", "fastapi", "rich", "typer")
FREE_BYTES = 2 * 2**30


def doctor() -> None:
    """Check Python, packages, cores, memory, disk, the port and the price of this machine.

    Example: lepton doctor
    """
    console, wrong = Console(), 0
    for fine, said in checks():
        console.print(f"[green]ok[/]   {said}" if fine else f"[red]no[/]   {said}", highlight=False)
        wrong += not fine
    if wrong:
        raise EnvironmentFault(f"{wrong} of the checks failed.", "Mend the lines marked 'no'.")


def checks() -> list[tuple[bool, str]]:
    """(passed, sentence) of each check."""
    import psutil

    from lepton_ray.money.prices import machine_price
    from lepton_ray.on_ray.port import DEFAULT, port_free

    around = Surroundings.read()
    memory, place = psutil.virtual_memory().available, tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    price = machine_price(around.vcpus)
    found = [
        ((3, 11) <= sys.version_info[:2] < (3, 14), f"Python {platform.python_version()} (3.11 to 3.13 is needed)"),
        (sys.platform == "linux", f"{platform.system()} (the wall is held on Linux)"),
        (around.cpus >= 1, f"{around.cpus} cores may be used, {around.vcpus} are paid for"),
        (memory > FREE_BYTES, f"{memory / 2**30:.1f} GiB of memory are free (2 are needed)"),
        (free > FREE_BYTES, f"{free / 2**30:.1f} GiB of disk are free in {place} (2 are needed)"),
        (True, f"port {DEFAULT} is {'free' if port_free(DEFAULT) else 'taken; another will be chosen'}"),
        (True, f"this machine is charged {price.per_hour} per hour: {price.sentence}"),
    ]
    for name in NEEDED:
        try:
            found.append((True, f"{name} {version(name)}"))
        except PackageNotFoundError:
            found.append((False, f"{name} is not installed"))
    return found
