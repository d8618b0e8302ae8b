"""A fitted scikit-learn estimator as one file of skops, which never unpickles: only classes of a closed list come back.

It knows no bundle. What skops trusts by itself is scikit-learn's estimators, numpy's types and functions of numbers;
what they are made of beside that is listed here.
"""

from pathlib import Path
from typing import Any

from lepton_ray.errors import BundleError, UsageError

_PARTS = (
    "numpy.dtype",
    "sklearn._loss.",
    "sklearn.calibration._",
    "sklearn.ensemble._hist_gradient_boosting.predictor.",
    "sklearn.gaussian_process._gpc.",
    "sklearn.gaussian_process.kernels.",
    "sklearn.linear_model._sgd_fast.",
    "sklearn.metrics._dist_metrics.",
    "sklearn.neighbors._ball_tree.",
    "sklearn.neighbors._kd_tree.",
    "sklearn.neural_network._stochastic_optimizers.",
    "sklearn.tree._tree.",
)
"""How the names of what estimators hold begin. Compiled classes read their arrays unchecked: a file is as trustworthy
as the hash that it is loaded by."""


def write_estimator(file: Path, estimator: Any) -> None:
    """Write a fitted estimator.

    Raises:
        UsageError: it holds what cannot be kept, which is named.
    """
    import skops.io

    try:
        data: bytes = skops.io.dumps(estimator)
        foreign = _foreign(data)
    except Exception as fault:  # skops asks the objects, which may be anybody's
        foreign = [f"{type(fault).__name__}: {fault}"]
    if foreign:
        raise UsageError(
            f"{type(estimator).__name__} cannot be carried into another process: it holds {', '.join(foreign)}.",
            "Only what scikit-learn's own classes, numbers, texts and arrays make up is kept without a pickle.",
        )
    file.write_bytes(data)


def read_estimator(file: Path) -> Any:
    """Return what ``write_estimator`` wrote.

    Raises:
        BundleError: this is not that, or it names what is not scikit-learn's.
    """
    import skops.io

    try:
        data = file.read_bytes()
        foreign = _foreign(data)
        if not foreign:
            return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    except Exception as fault:
        raise BundleError(
            f"The estimator cannot be read: {type(fault).__name__}: {fault}.",
            "Use the scikit-learn that its manifest names, or train again.",
        ) from fault
    raise BundleError(
        f"The estimator names {', '.join(foreign)}, not scikit-learn's.", "Take it from its source again."
    )


def _foreign(data: bytes) -> list[str]:
    """What these bytes name beside what is trusted."""
    import skops.io

    return [name for name in skops.io.get_untrusted_types(data=data) if not name.startswith(_PARTS)]
