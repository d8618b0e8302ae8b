"""A budget on a cluster whose nodes have prices of their own, one of which comes without any."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_ray
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray.nodes import INSTANCE, PRICE, REGION
from lepton_ray.on_ray.session import short_temp_dir, write_environment

TWO = Dollars.parse("0.5") + Dollars.parse("0.192")

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that says its price and a worker that says its type, each with a raylet of its own."""
    write_environment()
    import ray
    from ray.cluster_utils import Cluster

    place = short_temp_dir()
    head = {"num_cpus": 1, "labels": {PRICE: "0.5"}, "include_dashboard": False, "temp_dir": str(place)}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, labels={INSTANCE: "m5.xlarge", REGION: "us-east-1"})
    try:
        ray.init(address=made.address, log_to_driver=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        shutil.rmtree(place, ignore_errors=True)


def test_nodes_are_billed_by_their_labels_and_one_without_a_price_ends_it(cluster: Any, tmp_path: Path) -> None:
    from ray import tune

    from tests.on_ray.trainables import AtResult, harm

    stop = lepton_ray.BudgetStopper("1 usd", deadline="90s")
    callback = lepton_ray.BudgetCallback(stop, metric="loss")
    (tmp_path / "pids").mkdir()

    def join() -> None:
        if len(stop.account.rates.steps) > 1:
            return
        cluster.add_node(num_cpus=1, labels={PRICE: "0.1"})
        until = time.monotonic() + 20
        while stop.account.rates.now == TWO and time.monotonic() < until:
            time.sleep(0.05)
        cluster.add_node(num_cpus=1)

    results = tune.Tuner(
        harm,
        param_space={"kind": "talks, then holds", "pids": str(tmp_path / "pids")},
        tune_config=tune.TuneConfig(num_samples=2),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path / "tune"),
            stop=stop,
            callbacks=[callback, AtResult(join)],
            verbose=0,
        ),
    ).fit()
    assert "has no price, though others have one" in str(stop.stopped_because)
    assert any(result.metrics.get("loss") == 0.5 for result in results) and not results.errors
    receipt = callback.receipt()
    assert [per_hour for _, per_hour in stop.account.rates.steps] == [TWO, TWO + Dollars.parse("0.1")]
    assert receipt.machine.per_hour == stop.account.rates.now and receipt.held
    assert receipt.total.dollars == stop.spent == stop.account.rates.cost(stop.account.seconds)
