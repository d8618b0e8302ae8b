"""The endpoint's two HTML pages: what this model is, and the API documentation from assets of its own.

Knows nothing about the server; everything that comes from a table is escaped.
"""

import json
import shlex
from html import escape

from lepton_ray.bundle.manifest import Manifest

CSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#777}
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}p.dim{color:var(--dim);margin:.2rem 0 1.5rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
pre{padding:.8rem;border:1px solid var(--line);border-radius:.4rem;font-size:.85rem}
code{overflow-wrap:anywhere}
"""


def index_page(manifest: Manifest, name: str, bundle_id: str, url: str) -> str:
    """The page at ``/``."""
    rows = "".join(
        f"<tr><td><code>{escape(column.name)}</code></td><td>{escape(column.kind.value)}</td></tr>"
        for column in manifest.schema.columns
    )
    problem = manifest.problem
    shown = ", ".join(problem.classes[:20]) + (", …" if len(problem.classes) > 20 else "")
    task = f"{problem.task.value} ({shown})" if shown else problem.task.value
    outputs = ", ".join(f"<code>{escape(output)}</code>" for output in manifest.outputs[:8])
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>
<h1>{escape(name)}</h1>
<p class="dim">predicts <code>{escape(problem.target)}</code>: {escape(task)},
by {escape(manifest.family)}, bundle <code>{escape(bundle_id[:12])}</code></p>
<h2>Ask it</h2><pre><code>{escape(curl_line(manifest, url))}</code></pre>
<p>It answers with {outputs}{" …" if len(manifest.outputs) > 8 else ""}. <a href="/docs">All routes</a> ·
<a href="/v2/models/{escape(name)}">metadata</a> · <a href="/metrics">metrics</a></p>
<h2>Columns to send</h2><table><tr><th>column</th><th>kind</th></tr>{rows}</table></body></html>
"""


def curl_line(manifest: Manifest, url: str) -> str:
    """A command that gets one prediction, ready for a shell."""
    body = shlex.quote(json.dumps({"rows": [dict(manifest.example)]}, ensure_ascii=False))
    return f"curl -s {shlex.quote(url + '/predict')} -H 'content-type: application/json' -d {body}"


def docs_page(name: str) -> str:
    """The page at ``/docs``; all that it loads comes from this endpoint."""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: routes</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head><body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""


DOCS_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", validatorUrl: null});\n'
