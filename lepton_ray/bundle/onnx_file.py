"""A drawn graph as one ONNX file. Knows nothing about bundles, features or models.

The opsets are pinned: TreeEnsemble, which sums doubles and knows sets of categories, came with ai.onnx.ml 5. ONNX
Runtime has it since 1.21, but 1.21 and 1.22 use up the memory over many sets (measured; 1.23.2 does not).
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ray import __version__
from lepton_ray.bundle.files import new_file
from lepton_ray.errors import BundleError, EnvironmentFault
from lepton_ray.features.graph import ML, Graph, Node, Type, Wire

if TYPE_CHECKING:
    from onnx import AttributeProto, ModelProto

OPSET, ML_OPSET, IR_VERSION = 18, 5, 10
LARGEST = 2**31 - 2**20
"""Bytes of one file, which is one protobuf."""


def write_onnx(
    path: Path,
    graph: Graph,
    outputs: Mapping[str, tuple[Wire, Type, int | None]],
    *,
    said: str = "",
    inputs: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
) -> int:
    """Check a graph and write it, whole or not at all; return the bytes of the file.

    Args:
        outputs: by name the wire, its type and its width; None: it is (n,), not (n, width).
        said: a sentence about all of it. inputs: one about each input.
        facts: the file's metadata.

    Raises:
        BundleError: it is larger than one file can be.
        EnvironmentFault: onnx is not installed, or the disk refused.
    """
    needs_onnx()
    model = _model(graph, outputs, inputs or {})
    model.doc_string = said
    for key, value in (facts or {}).items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString()
    with new_file(path) as temporary:
        temporary.write_bytes(content)
    return len(content)


def needs_onnx() -> None:
    """Refuse where the package is not there."""
    if find_spec("onnx") is None:
        raise EnvironmentFault(
            "An export needs the package 'onnx', which is not installed.",
            "Install it: pip install 'lepton_ray[onnx]'.",
        )


def _model(
    graph: Graph, outputs: Mapping[str, tuple[Wire, Type, int | None]], inputs: Mapping[str, str]
) -> "ModelProto":
    from onnx import checker, helper, numpy_helper

    size = sum(array.nbytes for array in graph.constants.values()) + sum(_bytes(node) for node in graph.nodes)
    if size > LARGEST:
        raise BundleError(
            f"The model takes {size / 1e9:.1f} GB as ONNX, more than one file can hold.", "Use a smaller one."
        )
    nodes = [_proto(node) for node in graph.nodes]
    nodes += [helper.make_node("Identity", [wire.name], [name]) for name, (wire, _, _) in outputs.items()]
    given = [
        helper.make_tensor_value_info(name, int(kind), ["rows", width], doc_string=inputs.get(name, ""))
        for name, (kind, width) in graph.inputs.items()
    ]
    answers = [
        helper.make_tensor_value_info(name, int(kind), ["rows"] if width is None else ["rows", width])
        for name, (_, kind, width) in outputs.items()
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "prediction", given, answers, constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="lepton_ray",
        producer_version=__version__,
    )
    checker.check_model(model, full_check=True)
    return model


def _proto(node: Node) -> Any:
    from onnx import helper

    proto = helper.make_node(node.op, list(node.inputs), list(node.outputs), domain=node.domain)
    proto.attribute.extend(_attribute(name, value) for name, value in node.attributes.items())
    return proto


def _attribute(name: str, value: Any) -> "AttributeProto":
    from onnx import AttributeProto, helper, numpy_helper

    if isinstance(value, np.ndarray):
        return AttributeProto(name=name, type=AttributeProto.TENSOR, t=numpy_helper.from_array(value, name))
    if isinstance(value, list) and value and isinstance(value[0], int):  # helper looks at each of millions
        return AttributeProto(name=name, type=AttributeProto.INTS, ints=value)
    return helper.make_attribute(name, value)


def _bytes(node: Node) -> int:
    """About how many bytes the large attributes of a node take."""
    return sum(
        value.nbytes if isinstance(value, np.ndarray) else 4 * len(value)
        for value in node.attributes.values()
        if isinstance(value, np.ndarray | list)
    )
