"""``Lepton``: one model of anybody's and its rows, and four verbs. It knows no torch, no Ray and no estimator."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import yaml

from lepton_ray.bundle.files import new_file
from lepton_ray.errors import ServingError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.prices import machine_price
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.runs import Service
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.reading import Counted
from lepton_ray.serving.terms import Asked
from lepton_ray.spec import Surroundings
from lepton_ray.verbs.data import Data
from lepton_ray.verbs.estimator import Estimator
from lepton_ray.verbs.family import ByName
from lepton_ray.verbs.network import Network
from lepton_ray.verbs.said import Deployed, Fitted, Watched
from lepton_ray.verbs.work import Work

SEARCH_SECONDS = 60.0
"""Of an ``optimize`` without limits."""
ASK_SECONDS = 5.0
DEFAULT_PORT = 8000


class Lepton:
    """A model of anybody's with the rows it learns from and those it is scored on.

    Parameters
    ----------
    model : torch.nn.Module, scikit-learn estimator, or str
        A network that returns one score for each row, or one for each row and class (logits; or probabilities, which
        are found out by a softmax's rows that sum to 1, or a sigmoid as the last module); an estimator; or the name of
        a family, such as "lightgbm".
    X_train, X_test : array, frame, or for a network also a tuple or dict of arrays
        Rows first. A tuple is handed over in the order of the network's arguments, a dict by their names.
    y_train, y_test : (n,) array
        Classes, or values; see ``task``.
    epochs, batch_size : int
        Of a network; rows of a step, of all workers together. Estimators and families have their own ways.
    task : "classes" or "values", default=None
        None: texts, truth values and whole numbers are classes; but whole numbers of more than two kinds are values
        where the network has one output.
    metric : str, default="auto"
        What the score is: roc_auc for two classes, log_loss for more, rmse for values.
    price : str or number of US dollars, default=None
        What an hour of this machine costs; by default its share of a documented reference price.

    Notes
    -----
    The module itself has the best weights after ``train`` and ``optimize``; each verb begins with those that it had
    when it was handed over. Each of the two leaves a folder with the bundle and a ledger.
    """

    def __init__(
        self,
        model: Any,
        X_train: Any,
        y_train: Any,
        X_test: Any,
        y_test: Any,
        *,
        epochs: int = 50,
        batch_size: int = 32,
        task: str | None = None,
        metric: str = "auto",
        seed: int = 0,
        price: Any = None,
    ) -> None:
        """Look at model and rows, and call a network with a few of them.

        Raises:
            UsageError: the model is none, or does not fit the rows. DataError: the rows do not fit each other.
        """
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not isinstance(value, Integral) or value < 1:
                raise UsageError(f"{name} is {value!r}.", "Give a whole number from 1 up.")
        self._price = price
        data = Data(X_train, y_train, X_test, y_test, task=task, metric=metric)
        self._learner: Network | Estimator | ByName
        if isinstance(model, type):
            raise UsageError(f"{model.__name__} is a class.", f"Give one of its objects: {model.__name__}(…).")
        if isinstance(model, str):
            self._learner = ByName(model, data, seed=seed)
        elif hasattr(model, "forward") and hasattr(model, "state_dict") and hasattr(model, "named_parameters"):
            epochs, batch_size = int(epochs), int(batch_size)
            self._learner = Network(model, data.for_network(), epochs=epochs, batch_size=batch_size, seed=seed)
        elif hasattr(model, "fit") and hasattr(model, "get_params"):
            self._learner = Estimator(model, data, seed=seed)
        else:
            raise UsageError(
                f"A {type(model).__name__} is no model.",
                "Give a torch.nn.Module, a scikit-learn estimator, or the name of a family.",
            )
        self._settings: Mapping[str, Any] = {}
        self.fitted: Fitted | None = None
        self.deployed: Deployed | None = None

    def train(
        self,
        *,
        workers: int = 1,
        gpus: float = 0.0,
        patience: int | None = None,
        budget: Any = None,
        deadline: Any = None,
        out: Any = None,
    ) -> Fitted:
        """Fit the model, with the settings that ``optimize`` has found if it has.

        A network is trained on ``workers`` of Ray Train, with ``gpus`` each, in the Ray that this process has open or
        one of its own; the epoch that is best on a tenth of X_train is kept. Estimators and families are fitted in
        this process, for which Ray Train has nothing.

        Args:
            patience: epochs without a better one after which it ends.
            budget, deadline: asked after each epoch of a network whether one more fits; a soft wall.
            out: the folder; by default a new one under ``lepton-runs``.

        Raises:
            MoneyError: it cannot even begin before the wall. LeptonError: what went wrong, in a sentence.
        """
        work = Work.begin("prepare", out, budget=budget, deadline=deadline, price=self._price, default=None)
        if work.budget is not None and not isinstance(self._learner, Network):
            work.notes.append(f"{self._learner.name} is fitted in one go: budget and deadline do not end it.")
        self.fitted = self._learner.train(work, settings=self._settings, workers=workers, gpus=gpus, patience=patience)
        RunFolder(self.fitted.folder).write_json("result.json", self.fitted.to_dict())
        return self.fitted

    def optimize(
        self,
        *,
        budget: Any = None,
        deadline: Any = None,
        space: Mapping[str, Any] | None = None,
        out: Any = None,
    ) -> Fitted:
        """Search settings within a budget, or 60 s; the best model is the result, and ``train`` begins with them.

        Args:
            space: settings and their domains (``ray.tune``). By default rate, decay and batch size of a network; of an
                estimator those that matter most, such as C or max_leaf_nodes; a family has its own space.

        Raises:
            MoneyError: nothing can be tried before the wall. SearchError: nothing could be fitted.
        """
        work = Work.begin("prepare", out, budget=budget, deadline=deadline, price=self._price, default=SEARCH_SECONDS)
        self.fitted = self._learner.optimize(work, space=space)
        if not isinstance(self._learner, ByName):
            self._settings = self.fitted.settings
        RunFolder(self.fitted.folder).write_json("result.json", self.fitted.to_dict())
        return self.fitted

    def deploy(self, *, port: int | None = None, start: bool = True, scaling: Asked | None = None) -> Deployed:
        """Bring the model up behind Ray Serve on loopback, and write the YAML that ``serve deploy`` takes.

        The endpoint is a process of its own and ends with this one at the latest; one that was deployed before ends
        now. On a cluster the file needs the bundle's folder at the same path on its nodes.

        Args:
            start: False: only the file.
            scaling: ``lepton_ray.serving.terms.Asked(p99="50ms", max_usd_per_hour=0.40)``: how many replicas, and why;
                by default from one up to the cores, as requests queue. The file says the same.

        Raises:
            UsageError: nothing is fitted yet, or it cannot leave this process, or the numbers make no sense.
            MoneyError: the cap pays for no machine. ServingError: it did not come up.
        """
        if self.fitted is None:
            raise UsageError("Nothing is fitted yet.", "Call train() or optimize() first.")
        bundle = self.fitted.bundle
        if bundle is None:
            raise UsageError(f"{self.fitted.model} cannot be deployed.", " ".join(self.fitted.notes))
        if self.deployed is not None:
            self.deployed.stop()
        override = None if self._price is None else Dollars.parse(self._price, name="price")
        around, scaling = Surroundings.read(), scaling or Asked()
        rate = machine_price(around.vcpus, override).per_hour
        config = bundle.folder.parent / "serve.yaml"
        text = serve_config(str(bundle.folder), port or DEFAULT_PORT, scaling, Fleet(rate, around.cpus, kept=1))
        with new_file(config) as place:
            place.write_text(text, encoding="utf-8")
        since = time.monotonic()
        service = Service.start(bundle.folder, port, *scaling.words()) if start else None
        self.deployed = Deployed("" if service is None else service.url, config, rate, since, service)
        return self.deployed

    def monitor(self) -> Watched:
        """Read what the endpoint has counted: requests, latency, rows, and what it cost.

        Raises:
            UsageError: nothing is deployed. ServingError: it does not answer.
        """
        if self.deployed is None or not self.deployed.url:
            raise UsageError("Nothing is deployed from here.", "Call deploy() first.")
        url, now = self.deployed.url, time.monotonic()
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=ASK_SECONDS) as reply:
                text = reply.read().decode()
        except (urllib.error.URLError, OSError, UnicodeDecodeError) as fault:
            raise ServingError(f"The endpoint at {url} does not answer: {fault}.", "Call deploy() again.") from fault
        seconds = now - self.deployed.since
        return Watched(url, Counted.read(text), seconds, Dollars.of_rate(self.deployed.per_hour, seconds))


def serve_config(bundle: str, port: int, asked: Asked, fleet: Fleet, *, trust: tuple[str, ...] = ()) -> str:
    """The YAML that ``serve deploy`` and ``serve run`` take for the bundle in this folder.

    Args:
        asked: how many replicas, and why. fleet: what a node costs, and how many replicas it takes.

    Raises:
        UsageError, MoneyError: what was asked for makes no sense.
    """
    limits = Limits()
    terms = asked.terms(fleet, limits, fleet.seats)
    about: dict[str, Any] = {"replicas_per_node": fleet.seats, "cpus": 1.0, **asked.given()}
    if fleet.per_node is not None:
        about["price"] = str(fleet.per_node)[1:]
    application = {
        "name": "lepton",
        "route_prefix": "/",
        "import_path": "lepton_ray.on_ray.application:application",
        "args": {"bundle": bundle, "name": "model", "trust": list(trust), **about},
    }
    patience = limits.time + 5.0 + (0.0 if terms.idle is None else terms.wake)
    http = {"host": "127.0.0.1", "port": port, "request_timeout_s": patience, "keep_alive_timeout_s": 30}
    text = yaml.safe_dump(
        {"proxy_location": "HeadOnly", "http_options": http, "applications": [application]}, sort_keys=False
    )
    return f"# serve deploy serve.yaml; price: of an hour of one node, replicas_per_node: how many it takes\n{text}"
