"""The command line: registers one verb per file and turns errors into one sentence and an exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from lepton_ray import __version__
from lepton_ray.cli import clean, doctor, export, keys, past, predict, profile, refit, resume, run, serve
from lepton_ray.errors import EnvironmentFault, Interrupted, LeptonError, UsageError
from lepton_ray.on_host import messages
from lepton_ray.spec import Surroundings, asks_for_json

CommandLineFault: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser raises for a wrong command line; typer shows only its child."""

MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}

app = typer.Typer(
    name="lepton",
    help="The best model a budget in dollars buys before a deadline, served, with a receipt for every cent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
app.command("run")(run.run)
app.command("resume")(resume.resume)
app.command("profile")(profile.profile)
app.command("predict")(predict.predict)
app.command("serve")(serve.serve)
app.add_typer(keys.app, name="keys")
app.command("runs")(past.runs)
app.command("trials")(past.trials)
app.command("receipt")(past.receipt)
app.command("report")(past.report)
app.command("refit")(refit.refit)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.command("clean")(clean.clean)


@app.command("version")
def version() -> None:
    """Print the version.

    Example: lepton version
    """
    typer.echo(__version__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    announce_form(arguments)
    try:
        code = app(args=arguments, standalone_mode=False)
        return int(code) if isinstance(code, int) else 0
    except LeptonError as fault:
        return told(fault)
    except typer.Exit as ended:
        return int(ended.exit_code)
    except CommandLineFault as fault:
        return told(misused(fault, arguments))
    except (KeyboardInterrupt, typer.Abort):
        return told(Interrupted("You asked to stop.", ""))
    except Exception as fault:
        environment = refused_by_the_machine(fault)
        if environment is not None:
            return told(environment)
        traceback.print_exc()
        kind = type(fault).__name__
        return told(LeptonError(f"An internal error: {kind}: {fault}.", "Please report it with the lines above."))


def announce_form(arguments: Sequence[str]) -> None:
    """Tell the supervisor at once where a spec asks for JSON: whatever goes wrong is then told in JSON."""
    wall_fd = Surroundings.read().wall_fd
    pairs = [*zip(arguments, arguments[1:], strict=False), *(word.split("=", 1) for word in arguments if "=" in word)]
    if wall_fd is not None and any(name == "--spec" and asks_for_json(path) for name, path in pairs):
        messages.say(wall_fd, messages.Form(json=True))


def refused_by_the_machine(fault: Exception) -> EnvironmentFault | None:
    """Disk and memory as a fault of their own; None for anything else, which is ours."""
    if isinstance(fault, MemoryError):
        return EnvironmentFault("The memory of this machine is used up.", "Free some, or give a smaller table.")
    if not isinstance(fault, OSError) or fault.errno not in MACHINE:
        return None
    where = f"{fault.filename} cannot be used" if fault.filename else "The machine refused"
    full = fault.errno in (errno.ENOSPC, errno.EDQUOT)
    return EnvironmentFault(
        f"{where}: {os.strerror(fault.errno or 0)}.", "Free some space there." if full else "Choose another place."
    )


def misused(fault: Any, arguments: Sequence[str]) -> UsageError:
    """What the parser says of a wrong command line, and where help is."""
    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    verb = [word for word in arguments[:1] if word in known]
    what = fault.format_message().rstrip(".") or "No verb was given"
    return UsageError(f"{what}.", f"See {' '.join(['lepton', *verb, '--help'])}.")


def told(fault: LeptonError) -> int:
    """Say a fault: to the supervisor where there is one, else on standard error."""
    wall_fd = Surroundings.read().wall_fd
    if wall_fd is not None:
        messages.say(wall_fd, messages.Failed(fault.what, fault.hint, fault.exit_code))
    else:
        print(f"lepton: {fault}", file=sys.stderr)
    return fault.exit_code


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
