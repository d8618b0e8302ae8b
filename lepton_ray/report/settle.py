"""The last word in a page that was rendered before its run had ended: the receipt, and what was spent in all.

It needs the standard library and money/ only, so that a process which loads nothing else can put it in, too.
"""

import re
from html import escape

from lepton_ray.money.receipt import Receipt, swap_receipt
from lepton_ray.report.wording import duration


def settle(page: str, receipt: Receipt) -> str:
    """Put the final receipt, dollars and seconds between their markers; the markers stay, so it can be done again."""
    page = swap_receipt(page, receipt)
    for marker, text in (("spent", str(receipt.total.dollars)), ("wall", duration(receipt.total.seconds))):
        said = f"<!--{marker}-->{escape(text)}<!--/{marker}-->"
        page = re.sub(f"<!--{marker}-->.*?<!--/{marker}-->", lambda _, said=said: said, page, flags=re.DOTALL)  # type: ignore[misc]
    return page
