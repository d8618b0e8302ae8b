"""Turn the facts of a run into one self-contained page. It knows no run, only facts, sections and a template.

The page has no script and loads nothing. The receipt and the two numbers that are final only when the run has ended
stand between markers, so that :func:`settle` can put in the last word without drawing anything again.
"""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from lepton_ray.money.dollars import Dollars
from lepton_ray.report import story, wording
from lepton_ray.report.facts import HtmlReceipt, ReportFacts

FOLDER = Path(__file__).parent


def render(facts: ReportFacts) -> str:
    """Write the page. The same facts give the same text."""
    env = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {
        name: getattr(wording, name) for name in ("safe", "short", "count", "percent", "size", "duration", "figure")
    } | {"name": _name, "plain": wording.safe}
    env.globals |= {"plural": wording.plural, "interval": wording.interval, "metric_words": wording.metric_words}
    page = env.get_template("page.html").render(
        facts=facts,
        story=story,
        tried=story.tried(facts),
        css=Markup((FOLDER / "page.css").read_text("utf-8")),
        receipt=Markup(facts.receipt.to_html()) if facts.receipt else None,
    )
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", page).encode("utf-8", "replace").decode("utf-8")


def settle(page: str, *, receipt: HtmlReceipt, spent: Dollars, wall_seconds: float) -> str:
    """Put the final receipt, dollars and seconds into a page that was rendered before the run had ended."""
    last_word = {"receipt": receipt.to_html(), "spent": str(escape(spent)), "wall": wording.duration(wall_seconds)}
    for marker, text in last_word.items():
        whole = f"<!--{marker}-->{text}<!--/{marker}-->"
        page = re.sub(f"<!--{marker}-->.*?<!--/{marker}-->", lambda _, whole=whole: whole, page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def _name(text: object) -> Markup:
    """A name out of the user's table: harmless, and kept from turning the text around it."""
    return Markup("<bdi>{}</bdi>").format(wording.safe(text))
