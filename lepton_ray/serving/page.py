"""The endpoint's two HTML pages: what this model is and a form that asks it, and the API documentation.

The first page is one self-contained text: its style and its script stand in it, and its policy allows these two by
their hashes and nothing else. Everything that comes from a table is escaped. Knows nothing about the server.
"""

import base64
import hashlib
import json
import shlex
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.manifest import Manifest
from lepton_ray.serving.form import fields_of, figure
from lepton_ray.serving.standing import UNKNOWN, Standing
from lepton_ray.table.schema import Task

CSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
DOCS_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", validatorUrl: null});\n'
HOW = {
    "held_out": "rows held out",
    "latest": "the latest rows, held out",
    "test_file": "rows of the test file",
    "cross_validation": "rows, by cross-validation",
}
MOST_CLASSES = 12

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Page:
    """A page, and the content security policy that it is to be sent with."""

    html: str
    policy: str


def index_page(bundle: Bundle, name: str, url: str, standing: Standing = UNKNOWN) -> Page:
    """The page at ``/`` of the model called ``name``, whose routes begin with ``url``."""
    manifest = bundle.manifest
    fields = fields_of(bundle.schema, manifest.example, bundle.margins)
    problem = manifest.problem
    html = _template().render(
        name=name,
        target=problem.target,
        task=_task(manifest),
        facts=facts_of(bundle, standing),
        fields=fields,
        about={
            "fields": [asdict(field) | {"levels": []} for field in fields],
            "target": problem.target,
            "classes": problem.classes,
            "typical": bundle.margins is not None,
        },
        curl=curl_line(manifest, url),
        python=python_lines(manifest, url),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )
    policy = (
        f"default-src 'self'; script-src '{_hash('page.js')}'; style-src '{_hash('page.css')}'; img-src 'self' data:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode("utf-8", "replace").decode("utf-8"), policy)


def facts_of(bundle: Bundle, standing: Standing) -> list[tuple[str, str, str]]:
    """What is known of the model: what it is called, the figure, and a note; what is not known is left out."""
    manifest = bundle.manifest
    facts, said = manifest.facts, []
    score, interval = facts.get("score"), facts.get("interval")
    if isinstance(score, int | float):
        ends = f"95 % between {interval[0]:.4g} and {interval[1]:.4g}; " if isinstance(interval, list) else ""
        rows = f"on {facts['rows']:,} {HOW[facts['how']]}" if facts.get("how") in HOW and facts.get("rows") else ""
        said.append((manifest.problem.metric, f"{score:.4g}", f"{ends}{rows}".rstrip("; ")))
    fitted, table = facts.get("fitted_rows"), facts.get("table_rows")
    if isinstance(fitted or table, int):
        note = str(facts.get("source") or "")
        said.append(
            ("trained on" if fitted else "made from", f"{fitted or table:,} rows", f"of {note}" if note else "")
        )
    made = datetime.fromtimestamp(manifest.created, UTC)
    said.append(("model", manifest.family, f"bundle {bundle.id[:12]}, made {made:%Y-%m-%d}"))
    if standing.rate is not None:
        said.append(("price", f"{standing.rate}", "per hour, for the machines it runs on"))
    if (scale := standing.scale()) is not None:
        said.append(("replicas wanted", f"{scale.wanted}", scale.reason))
    return said


def curl_line(manifest: Manifest, url: str) -> str:
    """A command that gets one prediction, ready for a shell."""
    body = shlex.quote(json.dumps({"rows": [dict(manifest.example)]}, ensure_ascii=False))
    return f"curl -s {shlex.quote(url + '/predict')} -H 'content-type: application/json' -d {body}"


def python_lines(manifest: Manifest, url: str) -> str:
    """The same in Python, with nothing to install."""
    return (
        "import json, urllib.request\n\n"
        f"rows = [{dict(manifest.example)!r}]\n"
        f"request = urllib.request.Request({url + '/predict'!r}, json.dumps(rows).encode(),\n"
        "                                 {'content-type': 'application/json'})\n"
        "print(json.load(urllib.request.urlopen(request))['predictions'])"
    )


def docs_page(name: str) -> str:
    """The page at ``/docs``; all that it loads comes from this endpoint."""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: routes</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head><body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""


def _task(manifest: Manifest) -> str:
    problem = manifest.problem
    if problem.task is Task.REGRESSION:
        return "a number"
    shown = ", ".join(problem.classes[:MOST_CLASSES]) + (", …" if len(problem.classes) > MOST_CLASSES else "")
    return f"one of {len(problem.classes)} classes: {shown}"


@cache
def _template() -> Template:
    env = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["figure"] = figure
    return env.get_template("page.html")


@cache
def _asset(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


@cache
def _hash(name: str) -> str:
    digest: Any = hashlib.sha256(_asset(name).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
