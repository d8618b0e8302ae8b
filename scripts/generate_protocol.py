"""Make the Python of the Open Inference Protocol anew: python scripts/generate_protocol.py, from the project's folder.

Needs grpcio-tools, of the version that stands in constraints.txt (``pip install 'lepton_ray[dev]'``).
"""

import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path("lepton_ray/serving/open_inference.proto")


def main() -> int:
    """Write ``open_inference_pb2.py`` and ``.pyi`` beside the .proto file; return the compiler's status."""
    status = protoc.main(["protoc", "-I.", "--python_out=.", "--pyi_out=.", str(SOURCE)])
    if not status:
        print(f"made {SOURCE.with_name('open_inference_pb2.py')} and .pyi from {SOURCE}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
