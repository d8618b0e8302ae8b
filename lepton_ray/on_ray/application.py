"""What ``serve deploy`` imports: a bundle's application from the arguments in its YAML. It starts nothing itself."""

from dataclasses import fields
from typing import Any

from lepton_ray.errors import UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray.serving import application_of
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.guarding import Guarding
from lepton_ray.serving.terms import Asked, Scaling

DEFAULT_REPLICAS = 4


def application(args: dict[str, Any]) -> Any:
    """Return the Serve application of a bundle.

    Args:
        args: ``bundle``, the folder; ``name`` of the model in its routes; ``trust``, families whose code may run;
            ``cpus`` that Ray keeps for each replica; ``keys``, the file of keys; ``limits``, as ``{rate: 50}``;
            ``log``, the folder of the access log. Each node must see the files under these paths.
            ``price``, what an hour of one node costs; ``replicas_per_node``, how many it takes, by default one;
            ``p99``, ``max_usd_per_hour``, ``min_replicas``, ``max_replicas``, ``scale_to_zero_after`` and
            ``wake_timeout`` as the options of ``lepton serve``.

    Raises:
        UsageError: there is no bundle named, or the numbers make no sense. BundleError: the folder is none, or a
            damaged one. MoneyError: the cap pays for too little. EnvironmentFault: the keys cannot be read.
    """
    if "bundle" not in args:
        raise UsageError("The arguments of the application name no bundle.", "Write args: {bundle: FOLDER}.")
    guarding = Guarding.of(
        limits=args.get("limits") or "", keys=str(args.get("keys") or ""), log=str(args.get("log") or "")
    )
    scaling = scaling_of(args, guarding)
    return application_of(
        args["bundle"],
        name=str(args.get("name", "model")),
        scaling=scaling,
        cpus=float(args.get("cpus", 0.0)),
        trust=args.get("trust") or (),
        per_hour=scaling.fleet.per_node,
        guarding=guarding,
    )


def scaling_of(args: dict[str, Any], guarding: Guarding) -> Scaling:
    """How many replicas, and on which nodes, as these arguments say.

    Raises:
        UsageError, MoneyError: they make no sense.
    """
    price = Dollars.parse(args["price"], name="price") if "price" in args else None
    seats = int(args.get("replicas_per_node", 1))
    if seats < 1:
        raise UsageError(f"replicas_per_node is {seats}.", "A node takes at least one replica.")
    fleet = Fleet(price, seats)
    asked = Asked(**{field.name: args[field.name] for field in fields(Asked) if field.name in args})
    return Scaling(asked.terms(fleet, guarding.limits, DEFAULT_REPLICAS), fleet)
