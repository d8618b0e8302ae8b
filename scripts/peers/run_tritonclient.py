"""Ask an endpoint as anybody's `tritonclient` does, over gRPC and HTTP: rows as JSON in, what came back as JSON out.

    python run_tritonclient.py HTTP_HOST:PORT GRPC_HOST:PORT MODEL [KEY] < rows.json

It runs in an environment of its own (`scripts/peers/install FOLDER tritonclient`) and knows nothing of lepton_ray.
Numbers go as FP64, everything else as BYTES. Over gRPC nothing is set but the tensors; over HTTP the data is asked to
be JSON, because the endpoint does not take the binary extension, which is this client's default there.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http


def tensors(rows: Sequence[Mapping[str, Any]], module: Any, **how: Any) -> list[Any]:
    """One tensor for each column."""
    found = []
    for name in rows[0]:
        cells = [row[name] for row in rows]
        number = all(isinstance(cell, int | float) for cell in cells)
        array = np.array(cells, np.float64 if number else np.object_)
        tensor = module.InferInput(name, [len(cells)], "FP64" if number else "BYTES")
        tensor.set_data_from_numpy(array, **how)
        found.append(tensor)
    return found


def said(result: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """The tensors of an answer."""
    found = {}
    for name in names:
        cells = result.as_numpy(name).tolist()
        found[name] = [cell.decode() if isinstance(cell, bytes) else cell for cell in cells]
    return found


def main(argv: Sequence[str]) -> None:
    """Print all that was answered."""
    http_at, grpc_at, model, *key = argv
    headers = {"authorization": f"Bearer {key[0]}"} if key else {}
    rows = json.load(sys.stdin)
    called, asked = over_grpc.InferenceServerClient(grpc_at), over_http.InferenceServerClient(http_at)
    about = called.get_model_metadata(model, headers=headers)
    names = [tensor.name for tensor in about.outputs]
    outputs = [over_http.InferRequestedOutput(name, binary_data=False) for name in names]
    answers = {
        "grpc": said(called.infer(model, tensors(rows, over_grpc), headers=headers, request_id="7"), names),
        "http": said(
            asked.infer(
                model, tensors(rows, over_http, binary_data=False), outputs=outputs, headers=headers, request_id="7"
            ),
            names,
        ),
        "live": [called.is_server_live(), asked.is_server_live()],
        "ready": [called.is_server_ready(), asked.is_server_ready()],
        "model": [called.is_model_ready(model, headers=headers), asked.is_model_ready(model, headers=headers)],
        "versions": [list(about.versions), asked.get_model_metadata(model, headers=headers)["versions"]],
        "server": [
            called.get_server_metadata(headers=headers).name,
            asked.get_server_metadata(headers=headers)["name"],
        ],
    }
    try:
        called.infer(model, tensors([{"city": "Ulm"}], over_grpc), headers=headers)
    except over_grpc.InferenceServerException as error:
        answers["refused"] = [error.status(), error.message()]
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
