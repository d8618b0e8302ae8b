"""What ``serve deploy`` imports: a bundle's application from the arguments in its YAML. It starts nothing itself."""

from typing import Any

from lepton_ray.errors import UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray.serving import application_of
from lepton_ray.serving.guarding import Guarding

DEFAULT_REPLICAS = 4


def application(args: dict[str, Any]) -> Any:
    """Return the Serve application of a bundle.

    Args:
        args: ``bundle``, the folder; ``name`` of the model in its routes; ``trust``, families whose code may run;
            ``replicas`` at most; ``cpus`` that Ray keeps for each; ``price``, what an hour of its
            machines costs, for its page; ``keys``, the file of keys; ``limits``, as ``{rate: 50}``; ``log``, the folder
            of the access log. Each node must see the files under these paths.

    Raises:
        UsageError: there is no bundle named. BundleError: the folder is none, or a damaged one.
        EnvironmentFault: the keys cannot be read.
    """
    if "bundle" not in args:
        raise UsageError("The arguments of the application name no bundle.", "Write args: {bundle: FOLDER}.")
    return application_of(
        args["bundle"],
        name=str(args.get("name", "model")),
        replicas=int(args.get("replicas", DEFAULT_REPLICAS)),
        cpus=float(args.get("cpus", 0.0)),
        trust=args.get("trust") or (),
        per_hour=Dollars.parse(args["price"], name="price") if "price" in args else None,
        guarding=Guarding.of(
            limits=args.get("limits") or "", keys=str(args.get("keys") or ""), log=str(args.get("log") or "")
        ),
    )
