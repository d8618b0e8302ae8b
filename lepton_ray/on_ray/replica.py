"""The process that answers: one bundle, loaded and warmed, behind our ASGI app. Imported inside Serve's replicas."""

import logging
from typing import Any

from ray import serve

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.serving.app import build_app

log = logging.getLogger("lepton_ray.serving")


@serve.ingress()
class Replica:
    """A Serve deployment around one bundle folder; it is up only once it has answered a row."""

    def __init__(self, folder: str, bundle_id: str, name: str, trust: tuple[str, ...], loopback: bool) -> None:
        if loopback:
            stay_on_loopback()
        self._bundle = Bundle.load(folder, expected_id=bundle_id, trust=trust)
        self._bundle.predict(dict(self._bundle.manifest.example))
        self._name = name

    def __serve_build_asgi_app__(self) -> Any:
        return build_app(self._bundle, self._name)


def stay_on_loopback() -> None:
    """Bind the gRPC port that every replica opens for its peers to 127.0.0.1.

    Serve writes ``[::]`` there and offers no setting, though every peer asks for it at the node's address, which is
    127.0.0.1 on a one-host Ray. Should Serve change, this does nothing and says so.
    """
    from ray.serve._private import replica

    bind = getattr(replica, "add_port_to_grpc_server", None)
    if bind is None:
        log.warning("A replica's internal port is open beyond loopback: this Ray binds it elsewhere.")
        return
    vars(replica)["add_port_to_grpc_server"] = lambda server, address: bind(
        server, address.replace("[::]", "127.0.0.1")
    )
