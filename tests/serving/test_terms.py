"""What an operator writes about scaling: read once, and refused in one sentence where it makes no sense."""

import pytest

from lepton_ray.errors import LeptonError, MoneyError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.terms import Asked, Terms

FLEET = Fleet(Dollars.parse("0.096"), 2)


def read(fleet: Fleet = FLEET, **given: object) -> Terms:
    return Asked(**given).terms(fleet, Limits(), 4)  # type: ignore[arg-type]


def test_nothing_said_is_one_replica_up_to_the_usual_number() -> None:
    assert read() == Terms(least=1, most=4)
    assert read(min_replicas=6).most == 6


def test_everything_said_is_read_and_travels() -> None:
    terms = read(p99="50ms", max_usd_per_hour="0.40", max_replicas=8, scale_to_zero_after="10m", wake_timeout="20s")
    assert terms == Terms(0.05, Dollars.parse("0.40"), 0, 8, 600.0, 20.0)
    assert Terms.from_plain(terms.plain()) == terms and Terms.from_plain(read().plain()) == read()
    asked = Asked(p99="50ms", max_replicas=8)
    assert asked.given() == {"p99": "50ms", "max_replicas": 8}
    assert asked.words() == ["--p99", "50ms", "--max-replicas", "8"]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"p99": "0"}, UsageError, "The --p99 '0' is not longer than zero. Write it like --p99 50ms."),
        ({"p99": "fast"}, UsageError, "The --p99 'fast' is not a time."),
        ({"p99": "25s"}, UsageError, "A p99 of 25s promises nothing: a request is refused after 25 s."),
        ({"max_usd_per_hour": "0.05"}, MoneyError, "less than one machine of $0.096 per hour. The smallest that would"),
        ({"max_usd_per_hour": "0.05"}, MoneyError, "The smallest that would do is 0.096."),
        ({"max_usd_per_hour": "0"}, MoneyError, "The cap of $0.00 per hour is less than one machine"),
        ({"max_usd_per_hour": "0.1", "min_replicas": 3}, MoneyError, "2 machines, which 3 replicas take, of $0.096"),
        ({"max_usd_per_hour": "0.1", "min_replicas": 3}, MoneyError, "The smallest that would do is 0.192."),
        ({"max_usd_per_hour": "much"}, MoneyError, "The cap per hour 'much' is not an amount of money."),
        ({"min_replicas": -1}, UsageError, "--min-replicas -1 makes no sense."),
        ({"min_replicas": 0}, UsageError, "--min-replicas 0 does not say when the last one goes."),
        ({"min_replicas": 2, "scale_to_zero_after": "1m"}, UsageError, "contradict each other"),
        ({"min_replicas": 3, "max_replicas": 2}, UsageError, "--min-replicas 3 is more than --max-replicas 2."),
        ({"max_replicas": 0}, UsageError, "--max-replicas 0 makes no sense. Give a number from 1 to 1000."),
        ({"scale_to_zero_after": "0s"}, UsageError, "--scale-to-zero-after '0s' is not longer than zero."),
        ({"wake_timeout": "20s"}, UsageError, "--wake-timeout is for an endpoint that sleeps."),
        (
            {"wake_timeout": "1h", "scale_to_zero_after": "1m"},
            UsageError,
            "longer than anybody waits. Give 10m at most",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], kind: type[LeptonError], said: str) -> None:
    with pytest.raises(kind) as caught:
        read(**given)
    assert said in str(caught.value)


def test_a_cap_without_a_price_is_refused() -> None:
    with pytest.raises(MoneyError, match="needs the price of a machine"):
        read(Fleet(), max_usd_per_hour="1")
