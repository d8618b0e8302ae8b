"""The model of a run as ONNX, beside its bundle, where --onnx asks for it. It decides nothing about the search."""

from pathlib import Path

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import LeptonError
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.spec import RunSpec

FILE = "model.onnx"
EXPORT_SECONDS = 1.5
"""Kept for it: import, drawing and the checker took 0.1 s for 1 MB of LightGBM and 0.9 s for 18 MB of forests."""
FIXED_SECONDS, SECONDS_PER_BYTE = 0.5, 0.1e-6


def kept_seconds(spec: RunSpec) -> float:
    """Of the end of a run, for its export."""
    return EXPORT_SECONDS if spec.onnx else 0.0


def export(course: Course, sealer: Sealer, until: float) -> None:
    """Write the sealed bundle as ONNX, unless it is so large that this would take too long: the bundle is there, and
    can be exported whenever there is time."""
    if not course.spec.onnx:
        return
    course.meter.enter("export")
    home = Path(sealer.facts["bundle"])
    expected = FIXED_SECONDS + SECONDS_PER_BYTE * sum(file.stat().st_size for file in home.glob("**/*"))
    try:
        if course.clock() + expected > until:
            raise LeptonError(f"no time was left to write {FILE}", "")
        trust = [name for name in course.spec.families if ":" in name]
        made = Bundle.load(home, trust=trust).export_onnx(course.folder.path / FILE)
    except LeptonError as fault:
        course.screen.say(f"! {fault.what.rstrip('.')}; lepton export {home} --out {FILE} does it again")
        return
    sealer.update(onnx=str(made.path))
