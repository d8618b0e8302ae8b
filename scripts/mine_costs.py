"""scripts/mine_costs.py --from recorded.jsonl… [--without TABLE] [--out FILE]: the cost prior, byte for byte."""

import argparse
import json
import sys
from pathlib import Path

from lepton_ray.search import cost
from lepton_ray.search.cost_mining import mine_prior, timed_trials
from lepton_ray.search.records import read_records, without
from lepton_ray.search.trial import DONE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="recorded", type=Path, nargs="+", required=True)
    parser.add_argument("--without", action="append", default=[], metavar="TABLE")
    parser.add_argument("--out", type=Path, default=Path(cost.__file__).with_name(cost.PRIOR_FILE))
    asked = parser.parse_args()
    stamps, records = read_records(*asked.recorded)
    for source in asked.without:
        records = without(records, source)
    probe = next(stamps[one.stamp] for one in records if one.state == DONE).probe_seconds
    prior = mine_prior(timed_trials(records, stamps), probe)
    asked.out.write_text(json.dumps(prior.to_dict(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
