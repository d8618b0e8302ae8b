"""Who holds which nodes while they come and go; Ray's answers are made up, the books and the desk are real."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.errors import EnvironmentFault, MoneyError, UsageError
from lepton_ray.models.wish import ANYWHERE, Wish
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.prices import PriceSheet
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.opening import open_desk
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_ray.crew import Crew
from lepton_ray.on_ray.joining import join
from lepton_ray.on_ray.nodes import INSTANCE, MARKET, PRICE, Node, hired, price_here
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.trial import DONE, INTERRUPTED, Outcome
from tests.on_host.rows import bench, columns, spec, write

HERE = Node("head", {PRICE: "0.36"}, 1, cpus=1, id="1", here=True)
SPOT = Node("spot", {PRICE: "0.05", MARKET: "spot"}, 2, cpus=2, id="2")
DEAR = Node("dear", {PRICE: "36"}, 1, cpus=1, id="3")
BARE = Node("bare", {}, 8, cpus=8, id="4")
SHEET = PriceSheet.shipped()


class Play:
    """A search on a cluster that is made up, with dollars enough where a test says nothing else."""

    def __init__(self, place: Path, *nodes: Node, wish: Wish = ANYWHERE, **options: Any) -> None:
        asked = {"families": "linear", "price": "0.36", "out": str(place / "run"), "spend_it_all": True}
        asked |= {"budget": "100", "deadline": "60s"} | options
        self.course, prepared, _ = bench(spec(write(place / "table.csv", columns(300)), drop="row,value", **asked))
        facts = {"run": "run-1", "bundle": None}
        self.desk: Desk = open_desk(
            self.course, prepared, Sealer(self.course.folder, facts, self.course.clock), kept=1.0, probed=False
        )
        self.nodes = [HERE, *nodes]
        wishes = {"constant": wish, "linear": wish}
        self.crew = Crew(self.course, self.desk, wishes=wishes, nodes=lambda: self.nodes)
        self.course.meter.enter("search")
        self.look()

    def look(self) -> None:
        self.crew.look(at_once=True)

    @property
    def held(self) -> list[str]:
        return [node.name for node in self.course.meter.ledger.held]

    def begin(self) -> Assignment:
        """The next trial, on the place that it is given."""
        now = self.course.clock()
        given = self.desk.next_step(now, able=self.crew.able)
        assert isinstance(given, Assignment), given
        place = self.crew.place(given.trial)
        assert place is not None
        self.desk.begin(given.trial.id, now, "ray", node=place.name)
        return given

    def end(self, given: Assignment) -> None:
        self.desk.finish(Outcome(given.trial, DONE, "ray", 0.0, 0.1, error=0.5, fold_errors=(0.5,)))


def test_nodes_are_held_while_they_live_and_billed_while_they_are_held(tmp_path: Path) -> None:
    play = Play(tmp_path, SPOT, deadline="60s")
    assert play.held == ["spot"] and play.course.budget.per_hour == Dollars.parse("0.41")
    there = [play.begin() for _ in range(3)]
    assert sorted(play.crew.where(given.trial.id) for given in there) == ["", "spot", "spot"]
    play.nodes.append(DEAR)
    play.look()
    assert play.held == ["spot", "dear"], "the deadline comes before the money ends"
    play.nodes.remove(SPOT)
    play.look()
    assert play.held == ["dear"]
    broken = [one for one in play.desk.outcomes() if one.state == INTERRUPTED]
    assert len(broken) == 2 and {one.node for one in broken} == {"spot"}
    again = play.begin()
    assert again.trial in [one.trial for one in broken] and play.crew.where(again.trial.id) == "dear"
    play.crew.disband()
    assert play.held == [] and play.course.budget.per_hour == Dollars.parse("0.36")
    receipt = Receipt.from_ledger(play.course.meter.ledger, at=play.course.clock())
    assert Dollars.total(line.dollars for line in receipt.nodes) == receipt.total.dollars
    assert [(line.node, line.interruptions) for line in receipt.nodes[1:]] == [("spot", 2), ("dear", 0)]


def test_where_money_binds_a_dear_node_is_left_alone(tmp_path: Path) -> None:
    play = Play(tmp_path, SPOT, DEAR, budget="0.01", deadline="10m")
    assert play.held == ["spot"]
    wall = play.course.budget.wall_seconds
    assert wall == pytest.approx(0.01 / 0.41 * 3600, rel=0.02) and play.desk.search_end() < wall
    play.nodes.remove(SPOT)
    play.look()
    assert play.held == [] and play.course.budget.wall_seconds > wall


def test_what_is_held_stays_held_though_cheaper_nodes_come(tmp_path: Path) -> None:
    second = replace(SPOT, name="second", labels={PRICE: "0.5"}, id="9")
    play = Play(tmp_path, second, budget="0.02", deadline="30m")
    assert play.held == ["second"]
    play.nodes += [replace(SPOT, name=f"cheap{n}", id=f"c{n}", vcpus=8, cpus=8) for n in range(3)]
    play.look()
    assert play.held == ["second", "cheap0", "cheap1", "cheap2"]
    play.course.around = replace(play.course.around, started=play.course.around.started - 30.0)
    play.look()
    assert len(play.held) == 4 and len(play.course.meter.ledger.lives) == 4


@pytest.mark.parametrize("gone", [False, True], ids=["stays", "ended once it is idle"])
def test_a_node_that_is_drained_is_given_nothing_and_asked_for_what_it_has(tmp_path: Path, gone: bool) -> None:
    play = Play(tmp_path, SPOT)
    given = [play.begin() for _ in range(3)]
    on = [one for one in given if play.crew.where(one.trial.id) == "spot"]
    play.nodes[1] = replace(SPOT, leaving=True)
    play.look()
    assert play.held == ["spot"]
    asked = {path.name for path in play.course.folder.scratch.glob("stop-*")}
    assert asked == {f"stop-{one.trial.id}" for one in on}
    until = {one.trial.id: one.lease.until for one in play.desk.running()}
    assert all(until[one.trial.id] <= play.course.clock() + 5.0 for one in on)
    assert play.crew.gone(on[0].trial.id)
    for one in given:
        play.end(one)
    assert play.crew.where(play.begin().trial.id) == ""
    if gone:
        play.nodes.pop(1)
    play.look()
    assert play.held == [] and play.course.meter.ledger.lives[0].why == "it was about to go away"


def test_a_node_without_a_price_is_refused_at_the_start_and_left_alone_later(tmp_path: Path) -> None:
    with pytest.raises(MoneyError, match="bare of the cluster has no price"):
        price_here([HERE, BARE], SHEET)
    with pytest.raises(MoneyError, match="head of the cluster has no price"):
        price_here([replace(HERE, labels={}), SPOT], SHEET)
    assert price_here([replace(HERE, labels={}), SPOT], SHEET, Dollars.parse("7")).per_hour == Dollars.parse("7")
    assert price_here([replace(HERE, labels={}, vcpus=4)], SHEET).per_hour == Dollars.parse("0.192")
    assert hired(replace(BARE, labels={INSTANCE: "m5.large", MARKET: "spot"}), SHEET).market == "spot"
    play = Play(tmp_path, SPOT)
    play.nodes.append(BARE)
    for _ in range(3):
        play.look()
    assert play.held == ["spot"]
    said = [sentence for sentence in play.course.screen.said if "left alone" in sentence]  # type: ignore[attr-defined]
    assert said == ["! left alone: The node bare of the cluster has no price."], "once"


def test_a_run_that_joins_a_cluster_needs_dollars_and_no_endpoint(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv", columns(20))
    with pytest.raises(MoneyError, match="needs a budget"):
        join(spec(table, address="auto"))
    with pytest.raises(UsageError, match="no endpoint"):
        join(spec(table, address="auto", budget="1", serve="serve"))
    with pytest.raises(UsageError, match="host:port"):
        join(spec(table, address="nowhere", budget="1"))
    assert join(spec(table)) is None


def test_what_may_not_be_interrupted_runs_on_no_spot_node(tmp_path: Path) -> None:
    play = Play(tmp_path, SPOT, replace(DEAR, cpus=2), wish=Wish(spot=False))
    assert play.held == ["dear"]


def test_with_little_time_left_no_node_is_taken_on(tmp_path: Path) -> None:
    play = Play(tmp_path, SPOT, deadline="30s")
    assert play.held == ["spot"]
    play.course.around = replace(play.course.around, started=play.course.around.started - 22.0)
    play.nodes.append(DEAR)
    play.look()
    assert play.held == ["spot"]


def test_no_more_is_given_out_than_there_are_cores(tmp_path: Path) -> None:
    play = Play(tmp_path, SPOT)
    given = [play.begin() for _ in range(3)]
    assert not play.crew.able(replace(given[0].trial, id="t999"))


class Actor:
    """A process on a node, and what was asked of it."""


def test_the_processes_on_a_node_are_ended_before_it_is_let_go(tmp_path: Path, monkeypatch: Any) -> None:
    play = Play(tmp_path, SPOT, replace(DEAR, cpus=4))
    story: list[Any] = []
    let_go = Course.let_go
    monkeypatch.setattr("lepton_ray.on_ray.crew.end", lambda actors: story.append(set(actors)) if actors else None)
    monkeypatch.setattr(Course, "let_go", lambda course, name, why: (story.append(name), let_go(course, name, why)))
    hands: dict[str, list[Actor]] = {}
    for given in [play.begin() for _ in range(7)]:
        actor = Actor()
        hands.setdefault(play.crew.where(given.trial.id), []).append(actor)
        play.crew.begun(given.trial.id, actor)
        play.crew.begun(given.trial.id, actor)
    play.nodes.remove(SPOT)
    play.look()
    assert story == ["spot"], "they went with it"
    play.crew.disband()
    assert story == ["spot", set(hands["dear"]), "dear"] and len(hands["dear"]) == 4


def test_a_cluster_that_has_lost_the_machine_of_the_run_is_no_cluster_for_it(tmp_path: Path) -> None:
    play = Play(tmp_path, SPOT)
    play.nodes.remove(HERE)
    play.look()
    assert play.crew.lost is not None and "no longer" in play.crew.lost and play.held == ["spot"]
    play.crew.disband()
    assert play.held == [] and play.course.meter.ledger.lives[0].why == play.crew.lost


@pytest.mark.parametrize("dumb", [True, False])
def test_a_cluster_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: Any, dumb: bool) -> None:
    play, woken = Play(tmp_path, SPOT), threading.Event()
    play.begin()

    def ask() -> list[Node]:
        if not dumb:
            raise EnvironmentFault("the cluster does not answer: it is off", "")
        woken.wait(60)
        return play.nodes

    monkeypatch.setattr(play.crew, "_ask", ask)
    monkeypatch.setattr("lepton_ray.on_ray.crew.ANSWER_SECONDS", 0.05)
    monkeypatch.setattr("lepton_ray.on_ray.crew.end", lambda actors: pytest.fail("nobody hears it") if actors else None)
    play.crew.begun("t000", Actor())
    try:
        play.look()
        assert play.crew.lost is not None and "not answer" in play.crew.lost
        play.look()
        play.crew.disband()
        assert play.held == []
    finally:
        woken.set()


def test_where_no_node_has_a_core_the_search_waits(tmp_path: Path) -> None:
    play = Play(tmp_path, SPOT)
    play.nodes[0] = replace(HERE, cpus=0)
    play.look()
    assert play.crew.manned and play.crew.where(play.begin().trial.id) == "spot"
    play.nodes.remove(SPOT)
    play.look()
    assert not play.crew.manned


def test_alone_there_is_this_machine_and_no_node(tmp_path: Path) -> None:
    play = Play(tmp_path)
    course: Course = play.course
    alone = Crew(course, play.desk, wishes={"linear": Wish(), "constant": Wish(gpus=1)})
    alone.look(at_once=True)
    trial = play.begin().trial
    linear = replace(trial, id="t999", family="linear")
    assert not alone.joined and alone.able(linear) and not alone.able(replace(linear, family="constant"))
