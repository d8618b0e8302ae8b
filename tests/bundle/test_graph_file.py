"""A module as a graph: it says what the module says, of any number of rows, and can call nothing else."""

import json
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import nn  # noqa: E402

from lepton_ray.bundle.graph_file import Graph  # noqa: E402
from lepton_ray.errors import BundleError, UsageError  # noqa: E402
from lepton_ray.training.anybody import Wired  # noqa: E402
from tests.verbs.networks import Branching, Pair  # noqa: E402


class Chance(nn.Linear):
    def forward(self, x: Any) -> Any:
        return nn.functional.dropout(super().forward(x), 0.5, training=True)


class FourRows(nn.Linear):
    def forward(self, x: Any) -> Any:
        return super().forward(x) + torch.zeros(4, 2)


class Counting(nn.Linear):
    """Holds on to the number of rows, and writes into what it is given."""

    def forward(self, x: Any) -> Any:
        x += 1.0
        return super().forward(x) * torch.ones(len(x), 1)


def images() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )


def sentences() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 1), nn.Flatten(), nn.Linear(40, 3))


CASES = {
    "two inputs": (Pair, lambda n: (torch.randint(0, 7, (n, 5)), torch.randn(n, 3))),
    "images": (images, lambda n: (torch.randn(n, 64),)),
    "a number of rows": (lambda: Counting(3, 2), lambda n: (torch.randn(n, 3),)),
    "attention": (sentences, lambda n: (torch.randn(n, 5, 8),)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_graph_says_what_its_module_says(case: str) -> None:
    torch.manual_seed(0)
    make, rows = CASES[case]
    wired = Wired(make()).eval()
    graph = Graph.of(wired, rows(4))
    again = Graph.from_facts(json.loads(json.dumps(dict(graph.facts), allow_nan=False)), graph.tensors)
    for count in (1, 2, 33):
        given = rows(count)
        with torch.no_grad():
            assert torch.allclose(again(*given), wired(*(one.clone() for one in given)), atol=1e-5)


@pytest.mark.parametrize("module", [Branching(), Chance(3, 2), FourRows(3, 2)], ids=lambda one: type(one).__name__)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(module: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=f"{type(module).__name__} cannot be carried into another process") as caught:
        Graph.of(Wired(module), (torch.randn(4, 3),))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["os.system", "aten.from_file.default", "aten.save.default", "aten.__class__.x", "aten.add.overloads", ""]
)
def test_a_graph_can_name_nothing_but_operations(name: str) -> None:
    with pytest.raises(BundleError, match="which it may not call"):
        Graph.from_facts({"inputs": [], "held": {}, "steps": [["a", name, [], {}]], "output": None}, {})


def test_a_graph_can_name_no_other_word_of_torch() -> None:
    steps = [["a", "aten.zeros.default", [[2]], {"dtype": {"torch": "load"}}]]
    with pytest.raises(BundleError, match="torch.load, which is no type of numbers"):
        Graph.from_facts({"inputs": ["x"], "held": {}, "steps": steps, "output": {"of": "a"}}, {})(torch.zeros(1))
