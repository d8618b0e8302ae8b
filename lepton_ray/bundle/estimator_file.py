"""A fitted scikit-learn estimator as JSON and arrays. It never unpickles, and knows no estimator by name.

What an object is made of is asked for as ``pickle`` would (``__reduce_ex__``), and written down instead. Reading it
back makes objects of scikit-learn's own classes, by ``__new__`` and their state, and of nothing else; a few compiled
ones, listed here, are called with plain values. Functions are not kept, but for numpy's own (``np.log1p``).
"""

from __future__ import annotations

import copyreg
import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lepton_ray.errors import BundleError, UsageError

_HOME = "sklearn."
_CALLED = ("sklearn.tree._tree", "sklearn.linear_model._sgd_fast", "sklearn._loss._loss")
"""Modules of compiled classes, which are made by being called."""
_NUMPY_TYPES = (np.bool_, np.integer, np.floating, np.str_)
Arrays = dict[str, NDArray[Any]]


def written(estimator: Any) -> tuple[Any, Arrays]:
    """Return what a fitted estimator is made of: JSON values, and arrays by name.

    Raises:
        UsageError: it holds what cannot be kept, which is named.
    """
    writer = _Writer()
    try:
        return writer.write(estimator), writer.arrays
    except _Unkept as fault:
        raise UsageError(
            f"{type(estimator).__name__} cannot be carried into another process: it holds {fault}.",
            "Only what scikit-learn's own classes, numbers, texts and arrays make up is kept without a pickle.",
        ) from None


def read(facts: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the estimator that ``written`` wrote.

    Raises:
        BundleError: this is not that, or it names what is not scikit-learn's.
    """
    try:
        return _read(facts, arrays)
    except BundleError:
        raise
    except Exception as fault:
        raise BundleError(
            f"The estimator cannot be read: {type(fault).__name__}: {fault}.",
            "Use the scikit-learn that its manifest names, or train again.",
        ) from fault


class _Unkept(Exception):
    """What cannot be written, in words."""


class _Writer:
    """Writes objects one by one; each array gets a number."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}
        self._open: list[int] = []

    def write(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str) and type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, list):
            return [self.write(one) for one in value]
        for kind, write in _PARTS:
            if isinstance(value, kind):
                return write(self, value)
        if id(value) in self._open:
            raise _Unkept(f"a {type(value).__name__} that holds itself")
        self._open.append(id(value))
        try:
            return self._object(value)
        finally:
            self._open.pop()

    def array(self, value: NDArray[Any]) -> Any:
        if value.dtype == object:
            return {"objects": self.write(value.ravel().tolist()), "shape": list(value.shape)}
        if value.dtype.kind == "U":
            return {"texts": value.ravel().tolist(), "shape": list(value.shape), "dtype": str(value.dtype)}
        if value.dtype.kind not in "biufV":
            raise _Unkept(f"an array of {value.dtype}")
        name = str(len(self.arrays))
        flat = np.ascontiguousarray(value)
        if value.dtype.kind == "V":
            fields = [[field, str(value.dtype[field])] for field in value.dtype.names or ()]
            layout = {"fields": fields, "offsets": [value.dtype.fields[f][1] for f, _ in fields]}  # type: ignore[index]
            self.arrays[name] = flat.view(np.uint8).reshape(-1)
            return {"records": name, "shape": list(value.shape), "size": value.dtype.itemsize, **layout}
        self.arrays[name] = flat
        return {"array": name, "fortran": bool(value.flags.f_contiguous and not value.flags.c_contiguous)}

    def _object(self, value: Any) -> Any:
        name = _class_name(type(value))
        reduced = value.__reduce_ex__(2)
        if isinstance(reduced, str) or any(part is not None for part in reduced[3:]):
            raise _Unkept(f"a {type(value).__name__}")
        made, args, *rest = reduced
        state = self.write(rest[0]) if rest else None
        bare = made is copyreg.__newobj__ or getattr(made, "__name__", "") == "newObj"  # type: ignore[attr-defined]
        if bare and args == (type(value),):  # the second is how scikit-learn's neighbours say it
            return {"class": name, "state": state}
        if type(value).__module__ not in _CALLED or made is not type(value):
            raise _Unkept(f"a {type(value).__name__}")
        return {"class": name, "args": self.write(list(args)), "state": state}


def _class_name(kind: type) -> str:
    if not kind.__module__.startswith(_HOME):
        raise _Unkept(f"a {kind.__module__}.{kind.__qualname__}")
    return f"{kind.__module__}:{kind.__qualname__}"


def _ufunc(writer: _Writer, value: np.ufunc) -> Any:
    if getattr(np, value.__name__, None) is not value:
        raise _Unkept(f"the function {value.__name__}")
    return {"ufunc": value.__name__}


def _type(writer: _Writer, value: type) -> Any:
    if issubclass(value, np.generic):
        return {"type": np.dtype(value).name}
    if value in _PLAIN.values():
        return {"plain": value.__name__}
    return {"name": _class_name(value)}


def _sparse(writer: _Writer, value: Any) -> Any:
    csr = value.tocsr()
    return {"sparse": [writer.array(part) for part in (csr.data, csr.indices, csr.indptr)], "shape": list(csr.shape)}


_PLAIN = {kind.__name__: kind for kind in (bool, int, float, str, object)}
_PARTS: tuple[tuple[Any, Callable[[_Writer, Any], Any]], ...] = (
    (np.ndarray, lambda writer, value: writer.array(value)),
    (_NUMPY_TYPES, lambda writer, value: {"scalar": writer.write(value.item()), "dtype": str(value.dtype)}),
    (np.random.RandomState | np.random.Generator, lambda writer, value: {"drawn": "afresh"}),
    (np.dtype, lambda writer, value: {"dtype": value.str}),
    (np.ufunc, _ufunc),
    (type, _type),
    (sparse.spmatrix | sparse.sparray, _sparse),
    (slice, lambda writer, value: {"slice": [writer.write(v) for v in (value.start, value.stop, value.step)]}),
    (tuple, lambda writer, value: {"tuple": [writer.write(one) for one in value]}),
    (set | frozenset, lambda writer, value: {"set": [writer.write(one) for one in sorted(value)]}),
    (
        dict,
        lambda writer, value: {
            "dict": [[writer.write(key), writer.write(one)] for key, one in value.items()],
            **({} if type(value) is dict else {"kind": _class_name(type(value))}),
        },
    ),
)


def _read(facts: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(facts, list):
        return [_read(one, arrays) for one in facts]
    if not isinstance(facts, dict):
        return facts
    kind = next(kind for kind in _MEANINGS if kind in facts)
    return _MEANINGS[kind](facts, arrays)


def _object(facts: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    kind = _class_of(facts["class"])
    if "args" in facts:
        if kind.__module__ not in _CALLED:
            raise BundleError(f"The estimator calls {facts['class']!r}.", "Take it from its source again.")
        made = kind(*_read(facts["args"], arrays))
    else:
        made = _bare(kind)
    state = _read(facts["state"], arrays)
    if state is None:
        return made
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        inner, slots = state if isinstance(state, tuple) else (state, {})
        vars(made).update(inner or {})
        for name, value in slots.items():
            object.__setattr__(made, name, value)
    return made


def _bare(kind: Any) -> Any:
    return kind.__new__(kind)


def _class_of(name: str) -> type:
    module, _, path = name.partition(":")
    found = getattr(import_module(module), path, None) if module.startswith(_HOME) else None
    if not isinstance(found, type) or found.__module__ != module:
        raise BundleError(f"The estimator names {name!r}, which is no class of scikit-learn.", "Train it again.")
    return found


def _records(facts: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    names, formats = zip(*facts["fields"], strict=True)
    layout = {"names": names, "formats": formats, "offsets": facts["offsets"], "itemsize": facts["size"]}
    return arrays[facts["records"]].view(np.dtype(layout)).reshape(facts["shape"])  # type: ignore[call-overload]


def _objects(facts: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    found = np.empty(len(facts["objects"]), dtype=object)
    found[:] = _read(facts["objects"], arrays)
    return found.reshape(facts["shape"])


def _dict(facts: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    pairs = [(_read(key, arrays), _read(value, arrays)) for key, value in facts["dict"]]
    kind = _class_of(facts["kind"]) if "kind" in facts else dict
    if not issubclass(kind, dict):
        raise BundleError(f"The estimator names {facts['kind']!r} as a dict.", "Take it from its source again.")
    made = _bare(kind)
    dict.update(made, pairs)
    return made


def _found_ufunc(name: str) -> np.ufunc:
    found = getattr(np, name, None)
    if not isinstance(found, np.ufunc):
        raise BundleError(f"The estimator names np.{name}, which is no function of numbers.", "Train it again.")
    return found


_MEANINGS: dict[str, Callable[[Any, Mapping[str, NDArray[Any]]], Any]] = {
    "class": _object,
    "array": lambda facts, arrays: (np.asfortranarray if facts["fortran"] else np.ascontiguousarray)(
        arrays[facts["array"]]
    ),
    "records": _records,
    "texts": lambda facts, arrays: np.array(facts["texts"], dtype=facts["dtype"]).reshape(facts["shape"]),
    "objects": _objects,
    "scalar": lambda facts, arrays: np.dtype(facts["dtype"]).type(_read(facts["scalar"], arrays)),
    "float": lambda facts, arrays: float(facts["float"]),
    "drawn": lambda facts, arrays: np.random.RandomState(0),
    "ufunc": lambda facts, arrays: _found_ufunc(facts["ufunc"]),
    "type": lambda facts, arrays: np.dtype(facts["type"]).type,
    "plain": lambda facts, arrays: _PLAIN[facts["plain"]],
    "name": lambda facts, arrays: _class_of(facts["name"]),
    "sparse": lambda facts, arrays: sparse.csr_matrix(
        tuple(_read(part, arrays) for part in facts["sparse"]), shape=tuple(facts["shape"])
    ),
    "slice": lambda facts, arrays: slice(*_read(facts["slice"], arrays)),
    "tuple": lambda facts, arrays: tuple(_read(one, arrays) for one in facts["tuple"]),
    "set": lambda facts, arrays: set(_read(facts["set"], arrays)),
    "dict": _dict,
    "dtype": lambda facts, arrays: np.dtype(facts["dtype"]),
}
