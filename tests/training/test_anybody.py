"""A module of anybody's: what one call shows of it, and which loss follows."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import nn  # noqa: E402

from lepton_ray.errors import UsageError  # noqa: E402
from lepton_ray.training.anybody import Wired, loss_of, rehearse  # noqa: E402
from lepton_ray.training.loop import train  # noqa: E402
from lepton_ray.training.teaching import Part, Recipe, Subject, taught  # noqa: E402
from tests.verbs.networks import Pair, pair_rows  # noqa: E402

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


class Answer:
    def __init__(self, logits: Any) -> None:
        self.logits = logits


class Wrapped(nn.Linear):
    def forward(self, x: Any) -> Any:
        return Answer(super().forward(x))


def test_one_call_shows_what_it_says() -> None:
    plain = rehearse(nn.Linear(3, 2), (X,))
    assert (plain.width, plain.sums_to_one, plain.bounded, plain.idle, plain.as_floats) == (2, False, False, (), False)
    assert rehearse(nn.Sequential(nn.Linear(3, 4), nn.Softmax(1)), (X,)).sums_to_one
    assert rehearse(nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()), (X,)).bounded
    assert rehearse(nn.Linear(3, 2), (X.long(),)).as_floats
    assert rehearse(Wrapped(3, 4), (X,)).width == 4
    words = torch.zeros(8, 5, dtype=torch.long)
    assert rehearse(Pair(), (X, words), ("numbers", "words")).idle == ("module.idle.weight", "module.idle.bias")
    with pytest.raises(UsageError, match="returns a tensor of shape \\(8, 2, 3\\) for 8 rows"):
        rehearse(nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (2, 3))), (X,))


def test_a_rehearsal_leaves_the_module_alone() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = {name: one.clone() for name, one in module.state_dict().items()}
    rehearse(module, (X,))
    assert all(torch.equal(before[name], one) for name, one in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_probabilities_and_logits_have_the_same_loss() -> None:
    many, one, codes = torch.randn(6, 3), torch.randn(6, 1), torch.tensor([0, 1, 2, 0, 1, 2])
    shares = loss_of("probabilities", 3)(many.softmax(1), codes)
    assert torch.allclose(loss_of("logits", 3)(many, codes), shares, atol=1e-5)
    shares = loss_of("probabilities", 1)(one.sigmoid(), codes.clamp_max(1))
    assert torch.allclose(loss_of("logits", 1)(one, codes.clamp_max(1)), shares, atol=1e-5)
    assert torch.allclose(loss_of("values", 1)(one, torch.zeros(6)), one[:, 0] ** 2)


def test_two_workers_take_together_what_one_takes() -> None:
    rows, values = pair_rows(64)
    part = Part((rows["numbers"].astype("float32"), rows["words"]), values.astype("float32"))
    subject = Subject(module=Pair(), names=("numbers", "words"), says="values", width=1, idle=("module.idle.weight",))
    recipe = Recipe(epochs=1, batch_size=16)
    alone = next(iter(taught(subject, recipe, part, None).batches.epoch(1)))[1]
    both = [next(iter(taught(subject, recipe, part, None, rank=n, count=2).batches.epoch(1)))[1] for n in range(2)]
    assert torch.equal(alone, torch.cat(both))


def test_the_loop_teaches_it_and_the_module_given_stays() -> None:
    rows, values = pair_rows(200)
    part = Part((rows["numbers"].astype("float32"), rows["words"]), values.astype("float32"))
    torch.manual_seed(0)
    module = Pair()
    first = {name: one.clone() for name, one in module.state_dict().items()}
    subject = Subject(module=module, names=("numbers", "words"), says="values", width=1)
    recipe = Recipe(epochs=20, batch_size=16, rate=0.02)
    made = taught(subject, recipe, part, part)
    assert isinstance(made.model, Wired) and made.judge is not None
    with torch.no_grad():
        before = made.judge()
    settings, optimizer = recipe.settings(judged=True), made.optimizer(made.model)
    train(made.model, made.batches, settings, lambda told: None, loss=made.loss, optimizer=optimizer)
    with torch.no_grad():
        assert made.judge() < before / 4
    assert all(torch.equal(first[name], one) for name, one in module.state_dict().items())
