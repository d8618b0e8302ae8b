"""One thread for BLAS, so that sums are made in one order and a fit keeps to the core that it was given.

It knows nothing about any family. Threads of OpenMP are each library's own affair.
"""

from contextlib import AbstractContextManager
from functools import cache

import scipy.linalg  # noqa: F401  its BLAS is another than numpy's, and is to be among those found
from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """A context in which products of matrices take one thread."""
    limited: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limited


@cache
def _blas() -> ThreadpoolController:
    """The libraries, found once: looking for them takes a millisecond, as long as some predictions."""
    return ThreadpoolController()
