"""The transformer over columns: shapes, sizes, what decays, and that it learns what one column says of another."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from lepton_ray.errors import UsageError  # noqa: E402
from lepton_ray.models.column_transformer import ColumnTransformer, Size  # noqa: E402
from lepton_ray.training.batches import InMemory  # noqa: E402
from lepton_ray.training.loop import train  # noqa: E402
from lepton_ray.training.settings import Settings  # noqa: E402

SMALL = Size(blocks=2, width=16, heads=2, drop_attention=0.0, drop_inner=0.0)


@pytest.mark.parametrize(("numbers", "levels"), [(3, (4, 2)), (3, ()), (0, (4, 2)), (1, ())])
def test_any_mixture_of_columns_is_read(numbers: int, levels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = ColumnTransformer(numbers, levels, 3, SMALL).eval()
    x, codes = torch.randn(5, numbers), torch.zeros(5, len(levels), dtype=torch.int64)
    scores = model(x, codes)
    assert scores.shape == (5, 3)
    assert torch.allclose(scores[:2], model(x[:2], codes[:2]), atol=1e-6)


def test_each_category_has_codes_of_its_own() -> None:
    torch.manual_seed(0)
    model = ColumnTransformer(0, (2, 3), 1, SMALL)
    one, other = (model.tokens(torch.zeros(1, 0), torch.tensor([codes])) for codes in ([1, 0], [1, 2]))
    assert torch.equal(one[:, :2], other[:, :2]) and not torch.equal(one[:, 2], other[:, 2])
    model.tokens(torch.zeros(1, 0), torch.tensor([[1, 2]]))
    with pytest.raises(IndexError):
        model.tokens(torch.zeros(1, 0), torch.tensor([[1, 3]]))


def test_the_default_is_as_large_as_it_says() -> None:
    count = sum(p.numel() for p in ColumnTransformer(8, (10, 10), 1).parameters())
    assert count == pytest.approx(3 * 300_000, rel=0.2)
    groups = ColumnTransformer(8, (10,), 1).groups(decay=0.1)
    assert sum(p.numel() for group in groups for p in group["params"]) == count - 11 * 192
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]


@pytest.mark.parametrize("wrong", [{"width": 10, "heads": 4}, {"blocks": 0}])
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="heads"):
        Size(**wrong)
    with pytest.raises(UsageError, match="none"):
        ColumnTransformer(0, (), 1)


def test_it_learns_what_one_column_says_of_another() -> None:
    """The sign of the product of a number and of a category: no column alone says anything of it."""
    generator = torch.Generator().manual_seed(0)
    x, codes = torch.randn(256, 2, generator=generator), torch.randint(0, 2, (256, 1), generator=generator)
    y = ((x[:, 0] > 0) == (codes[:, 0] > 0)).long()
    torch.manual_seed(0)
    model = ColumnTransformer(2, (2,), 2, SMALL)
    train(
        model,
        InMemory((x, codes), y, size=32, seed=0),
        Settings(epochs=20),
        lambda told: None,
        loss=torch.nn.CrossEntropyLoss(reduction="none"),
        optimizer=torch.optim.AdamW(model.groups(rate=0.005)),
    )
    with torch.no_grad():
        assert (model(x, codes).argmax(1) == y).float().mean() > 0.95
