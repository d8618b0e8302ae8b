"""Turn the facts of a run into one self-contained page. It knows no run, only facts, sections and a template.

The page has no script and loads nothing. The receipt and the two numbers that are final only when the run has ended
stand between markers, so that ``report/settle.py`` can put in the last word without drawing anything again.
"""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lepton_ray.report import panels, story, wording
from lepton_ray.report.facts import ReportFacts

FOLDER = Path(__file__).parent


def render(facts: ReportFacts) -> str:
    """Write the page. The same facts give the same text."""
    page = _template().render(
        facts=facts,
        story=story,
        panels=panels,
        tried=story.tried(facts),
        css=Markup((FOLDER / "page.css").read_text("utf-8")),
        receipt=Markup(facts.receipt.to_html()) if facts.receipt else None,
    )
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", page).encode("utf-8", "replace").decode("utf-8")


@cache
def _template() -> Template:
    """Compile the page once per process."""
    env = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        name: getattr(wording, name) for name in ("safe", "short", "count", "percent", "size", "duration", "figure")
    } | {"name": _name, "plain": wording.safe}
    env.globals |= {"plural": wording.plural, "interval": wording.interval, "metric_words": wording.metric_words}
    return env.get_template("page.html")


def _name(text: object) -> Markup:
    """A name out of the user's table: harmless, and kept from turning the text around it."""
    return Markup("<bdi>{}</bdi>").format(wording.safe(text))
