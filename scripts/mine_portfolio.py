"""scripts/mine_portfolio.py --from recorded.jsonl… [--without TABLE] [--out FILE]: the portfolio, byte for byte."""

import argparse
import json
import sys
from pathlib import Path

from lepton_ray.search import portfolio
from lepton_ray.search.portfolio_mining import mine_portfolio
from lepton_ray.search.records import read_blends, read_records, recorded_tables, without


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="recorded", type=Path, nargs="+", required=True)
    parser.add_argument("--without", action="append", default=[], metavar="TABLE")
    parser.add_argument("--out", type=Path, default=Path(portfolio.__file__).with_name(portfolio.PORTFOLIO_FILE))
    asked = parser.parse_args()
    _, records = read_records(*asked.recorded)
    for source in asked.without:
        records = without(records, source)
    mined = mine_portfolio(recorded_tables(records), read_blends(*asked.recorded)).to_dict()
    lists = [f'"{name}": [\n' + ",\n".join(map(json.dumps, entries)) + "\n]" for name, entries in mined.items()]
    asked.out.write_text("{\n" + ",\n".join(lists) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
