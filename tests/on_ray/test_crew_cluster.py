"""A run on a cluster whose nodes have prices of their own, come, are killed and are drained, with a clock outside."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from lepton_ray.on_host.short_lived import homes
from lepton_ray.on_ray.nodes import MARKET, PRICE
from lepton_ray.on_ray.session import short_temp_dir, write_environment
from tests.cli.lepton import lepton, started
from tests.on_host.rows import columns, write
from tests.outside import check_nobody_is_left, python, text_of, until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HERE, SPOT, DEAR, LATE = 0.36, 0.05, 36.0, 0.1
"""Dollars per hour of the machine that the run is on, and of the others."""
SEEN_SECONDS = 2.5
"""How long a node may have come or gone before it is seen: looks are a second apart, on two busy cores."""


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head of one core, a spot node of two and a dear one, each with a raylet of its own."""
    write_environment()
    from ray.cluster_utils import Cluster

    place = short_temp_dir()
    head = {"num_cpus": 1, "labels": {PRICE: str(HERE)}, "include_dashboard": False, "temp_dir": str(place)}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made
    finally:
        made.shutdown()
        shutil.rmtree(place, ignore_errors=True)


def processes_of(node: Any) -> list[psutil.Process]:
    """A raylet and its workers."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [raylet, *raylet.children(recursive=True)]


def kill(node: Any) -> float:
    """End a node as the end of its machine does; return when that was."""
    doomed = processes_of(node)
    at = time.time()
    for process in doomed:
        with suppress(psutil.NoSuchProcess):
            os.kill(process.pid, signal.SIGKILL)
    return at


def drain(address: str, node: Any, seconds: float) -> None:
    """What ``ray drain-node`` does."""
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline = int((time.time() + seconds) * 1000)
    accepted, why = GcsClient(address=address).drain_node(node.node_id, reason, "for the test", deadline)
    assert accepted, why


class Watched:
    """A run on the cluster, looked at from outside."""

    def __init__(self, place: Path, address: str, *words: str) -> None:
        self.folder = place / "run"
        table = write(place / "table.csv", columns(1200))
        given = [table, "--target", "left", "--drop", "row,value", "--json", "--out", self.folder, "--no-serve"]
        self.process = started("run", *given, "--address", address, "--spend-it-all", *words)

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in text_of(self.folder / name).splitlines()]

    @property
    def held(self) -> list[str]:
        """Names of the nodes that it has held, in order."""
        return [line["join"]["name"] for line in self.lines("ledger.jsonl") if "join" in line]

    @property
    def trials(self) -> list[dict[str, Any]]:
        return self.lines("trials.jsonl")

    def half_done_on(self, cores: int) -> bool:
        """Whether as many trials as it has cores have kept a fold each, and have not ended."""
        ended = {trial["trial"]["id"] for trial in self.trials}
        kept = {path.stem for path in (self.folder / ".work" / "oof").glob("*.npz")}
        return len(kept - ended) >= cores

    def end(self) -> tuple[Any, dict[str, Any]]:
        done = self.process.end()
        assert "Traceback" not in done.err, done
        check_nobody_is_left(done.result["run"])
        return done, json.loads((self.folder / "receipt.json").read_text())


def test_nodes_come_and_are_killed_and_each_is_billed_for_its_life(cluster: Any, tmp_path: Path) -> None:
    spot = cluster.add_node(num_cpus=2, labels={PRICE: str(SPOT), MARKET: "spot"})
    dear = cluster.add_node(num_cpus=1, labels={PRICE: str(DEAR)})
    words = ("--families", "tests.placed:Patient", "--budget", "0.006", "--deadline", "3m")
    run = Watched(tmp_path, cluster.address, *words)
    with run.process:
        run.process.wait_for(lambda: run.half_done_on(3))
        killed = kill(spot)
        run.process.wait_for(lambda: any(trial["state"] == "interrupted" for trial in run.trials))
        assert time.time() - killed < SEEN_SECONDS + 1
        coming = time.time()
        late = cluster.add_node(num_cpus=1, labels={PRICE: str(LATE)})
        come = time.time()
        cluster.add_node(num_cpus=1)  # without a price: it is left alone
        done, receipt = run.end()
    assert done.code == 0, done
    check_the_trials(run, spot.node_id[:12], late.node_id[:12])
    nodes = {line["node"]: line for line in receipt["nodes"]}
    assert set(nodes) == {"this machine", spot.node_id[:12], late.node_id[:12]} and dear.node_id[:12] not in nodes
    lost, came = nodes[spot.node_id[:12]], nodes[late.node_id[:12]]
    began = receipt["started"]
    assert 0 <= began + lost["joined"] + lost["seconds"] - killed <= SEEN_SECONDS and lost["market"] == "spot"
    assert coming - began <= came["joined"] <= come - began + SEEN_SECONDS
    assert "went away" in lost["why"] and lost["interruptions"] == 2 and 0 < lost["lost_usd"] < lost["usd"]
    outside = {"this machine": HERE * done.seconds, spot.node_id[:12]: SPOT * lost["seconds"]}
    outside[late.node_id[:12]] = LATE * came["seconds"]
    for name, dollar_seconds in outside.items():
        assert nodes[name]["usd"] == pytest.approx(dollar_seconds / 3600, rel=0.02, abs=2e-6)
    spent = round(receipt["spent_usd"] * 1e6)
    for lines in (receipt["nodes"], [*receipt["stages"], receipt["unexplained"]]):
        assert sum(round(line["usd"] * 1e6) for line in lines) == spent
    assert spent <= 6000 and receipt["budget_usd"] == 0.006
    assert receipt["unexplained"]["seconds"] <= 0.01 * receipt["wall_seconds"] and receipt["wall_held"]
    assert spent >= 3000, "it went on after the node was dead: what it would have cost is there for the others"
    until(lambda: not trials_left(cluster), 20)
    words = ("--target", "left", "--address", cluster.address, "--no-serve", "--budget", "0.01")
    refused = lepton("run", tmp_path / "table.csv", *words)
    assert refused.code == 4 and "has no price" in refused.err, refused


def check_the_trials(run: Watched, spot: str, late: str) -> None:
    """What was interrupted was taken up elsewhere with the folds that it had, and nothing was lost."""
    spells: dict[str, list[dict[str, Any]]] = {}
    for trial in run.trials:
        spells.setdefault(trial["trial"]["id"], []).append(trial)
    broken = [one for one in spells.values() if one[0]["state"] == "interrupted"]
    assert len(broken) == 2 and {one[0]["node"] for one in broken} == {spot}
    for first, *rest in broken:
        (last,) = rest
        assert last["state"] in ("done", "partial") and last["node"] != spot
        assert first["trial"] == last["trial"] and 0 < first["lost"] < first["seconds"]
        assert last["fits"] < len(last["fold_errors"]), "the folds that were kept are not fitted again"
        assert last["state"] == "partial" or len(last["fold_errors"]) == 5
    others = [one for one in spells.values() if one not in broken]
    assert all(len(one) == 1 and one[0]["state"] in ("done", "partial", "skipped") for one in others)
    assert {one["node"] for one in run.trials} >= {"", spot, late}


def trials_left(cluster: Any) -> list[str]:
    """The actors of trials that live on the cluster's nodes."""
    found = []
    for node in cluster.list_all_nodes():
        with suppress(psutil.NoSuchProcess):
            found += [" ".join(process.cmdline()) for process in processes_of(node)]
    return [words for words in found if "TrialActor" in words]


def test_a_node_that_is_drained_hands_in_what_it_has_and_is_let_go(cluster: Any, tmp_path: Path) -> None:
    spot = cluster.add_node(num_cpus=2, labels={PRICE: str(SPOT), MARKET: "spot"})
    words = ("--families", "tests.placed:Patient", "--budget", "1", "--deadline", "45s")
    name = spot.node_id[:12]
    run = Watched(tmp_path, cluster.address, *words)
    with run.process:
        run.process.wait_for(lambda: run.half_done_on(3))
        drain(cluster.address, spot, 20.0)
        told = time.time()
        run.process.wait_for(lambda: any("leave" in line for line in run.lines("ledger.jsonl")))
        assert time.time() - told < 10
        done, receipt = run.end()
    assert done.code == 0, done
    line = next(line for line in receipt["nodes"] if line["node"] == name)
    assert "about to go away" in line["why"] and line["interruptions"] == 0
    there = [trial for trial in run.trials if trial["node"] == name]
    assert {trial["state"] for trial in there} <= {"done", "partial"} and there[-1]["state"] == "partial"
    assert all(trial["started"] < told - receipt["started"] + SEEN_SECONDS for trial in there)
    assert receipt["budget_usd"] == 1 and receipt["wall_held"]


RAYLET = """
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams

address, cpus, price, market = sys.argv[1:]
labels = {"lepton.price-usd-h": price, "ray.io/market-type": market}
ports = {"node_manager_port": 0, "min_worker_port": 0, "max_worker_port": 0}
room = {"num_cpus": int(cpus), "num_gpus": 0, "object_store_memory": 150 * 2**20}
Node(RayParams(gcs_address=address, redis_address=address, labels=labels, include_log_monitor=False, **ports, **room))
signal.pause()
"""


def other_machine(address: str, hidden: Path) -> subprocess.Popen[bytes]:
    """A raylet of two cores that does not see this folder, as on another machine; it ends with what is returned."""
    words = shlex.join(python("-c", RAYLET, address, 2, SPOT, "spot"))
    hide = f"mount -t tmpfs none {shlex.quote(str(hidden))} && exec {words}"
    return subprocess.Popen(["unshare", "--mount", "sh", "-c", hide], start_new_session=True)


@pytest.mark.cluster
def test_benches_on_other_machines_are_sent_what_they_need_and_send_back_what_they_find(
    cluster: Any, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    raylet = other_machine(cluster.address, tmp_path / "run")
    try:
        until(lambda: len(living(cluster.address)) == 2)
        words = ("--families", "linear,lightgbm,tests.placed:Patient", "--budget", "1", "--deadline", "40s")
        run = Watched(tmp_path, cluster.address, *words)
        with run.process:
            run.process.wait_for(copies)
            done, receipt = run.end()
    finally:
        os.killpg(raylet.pid, signal.SIGTERM)
        raylet.wait()
    assert done.code == 0, done
    (other,) = {line["node"] for line in receipt["nodes"]} - {"this machine"}
    there = [trial for trial in run.trials if trial["node"] == other]
    assert len(there) >= 6 and {trial["state"] for trial in there} <= {"done", "partial", "skipped"}, there
    assert any(trial["bundle"] for trial in there) and {trial["trial"]["rung"] for trial in there} == {0, 1}
    assert all(0 <= trial["started"] <= 40 and trial["seconds"] < 20 for trial in there)
    assert done.result["score"] > 0.8 and receipt["wall_held"]
    until(lambda: not copies())


def copies() -> list[Path]:
    """What benches were sent of the rows, on machines that are not the run's."""
    return [path for home in homes() for path in home.glob("lepton-*/dev.arrow")]


def living(address: str) -> list[Any]:
    """The nodes that the head counts as alive."""
    from ray._raylet import GcsClient

    return [node for node in GcsClient(address=address).get_all_node_info().values() if node.state == 0]
