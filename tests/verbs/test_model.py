"""``LeptonModel``: the linear machine learns by mini-batches, the others refuse them by name."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lepton_ray import LeptonModel
from lepton_ray.errors import DataError, UsageError
from lepton_ray.models.hinge import Hinge, fit_hinge

X, Y = load_breast_cancer(return_X_y=True)
ROWS = StandardScaler().fit_transform(X)


def objective(machine: Hinge, C: float) -> float:
    """What a support vector machine is the least of."""
    signs = np.where(Y > 0, 1.0, -1.0)
    short = np.maximum(0.0, 1.0 - signs * machine.scores(ROWS)[:, 0])
    return float((machine.weights**2).sum() / 2 + C * short.sum())


def test_more_epochs_come_nearer_to_the_least(C: float = 1.0) -> None:
    exact = SVC(C=C, kernel="linear").fit(ROWS, Y)
    least = objective(Hinge(exact.coef_, exact.intercept_), C)
    found = [
        objective(fit_hinge(ROWS, Y, C=C, epochs=epochs, batch_size=32, seed=0), C) / least for epochs in (1, 8, 100)
    ]
    assert found[0] > found[1] > found[2] >= 1.0 - 1e-6
    assert found[2] < 1.1


def test_epochs_and_batches_act_and_the_same_seed_gives_the_same() -> None:
    def fitted(**sizes: int) -> LeptonModel:
        return LeptonModel("svm", C=1.0, kernel="linear").fit(X, Y, **sizes)

    one = fitted(epochs=5, batch_size=32)
    assert np.array_equal(one.coef_, fitted(epochs=5, batch_size=32).coef_)
    assert not np.array_equal(one.coef_, fitted(epochs=6, batch_size=32).coef_)
    assert not np.array_equal(one.coef_, fitted(epochs=5, batch_size=64).coef_)
    assert (one.predict(X) == Y).mean() > 0.96


def test_classes_come_back_as_they_were_given() -> None:
    flowers = load_iris()
    names = flowers.target_names[flowers.target]
    for kernel in ("linear", "rbf"):
        said = LeptonModel("svm", kernel=kernel).fit(flowers.data, names).predict(flowers.data)
        assert (said == names).mean() > 0.9


@pytest.mark.parametrize("kernel", ["rbf", "poly", "sigmoid"])
@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_other_kernels_refuse_both_by_name(kernel: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"svm with the kernel {kernel} knows no {name}"):
        LeptonModel("svm", C=1.0, kernel=kernel).fit(X, Y, **{name: 5})


def test_what_cannot_be_is_refused() -> None:
    for settings, said in (({"C": 0}, "C is 0"), ({"kernel": "cubic"}, "no kernel 'cubic'"), ({"gamma": 1}, "gamma")):
        with pytest.raises(UsageError, match=said):
            LeptonModel("svm", **settings)
    with pytest.raises(UsageError, match="lightgbm takes no settings here, and num_leaves"):
        LeptonModel("lightgbm", num_leaves=3)
    with pytest.raises(UsageError, match="family linear knows no epochs"):
        LeptonModel("linear").fit(X, Y, epochs=5)
    with pytest.raises(UsageError, match="no model family 'svn'"):
        LeptonModel("svn")
    with pytest.raises(UsageError, match="learned nothing yet"):
        LeptonModel("svm").predict(X)
    with pytest.raises(UsageError, match="epochs is 0"):
        LeptonModel("svm").fit(X, Y, epochs=0)
    with pytest.raises(DataError, match="29 columns, and it learned from 30"):
        LeptonModel("svm").fit(X, Y, epochs=1).predict(X[:, 1:])
    with pytest.raises(DataError, match="one class only"):
        LeptonModel("svm").fit(X, Y * 0)


@pytest.mark.exam
def test_another_family_is_fitted_by_its_name() -> None:
    model = LeptonModel("linear").fit(X[:200], Y[:200])
    assert (model.predict(X[200:]) == Y[200:]).mean() > 0.9
