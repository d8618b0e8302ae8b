"""What stands before every request: keys, rates, sizes, times and turns, each with a work that does next to nothing."""

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from starlette.types import ASGIApp

from lepton_ray.errors import UsageError
from lepton_ray.serving.access_log import AccessLog
from lepton_ray.serving.guard import INLINE_BODY, Guard
from lepton_ray.serving.http import answered, app_of, constant
from lepton_ray.serving.keys import KeyFile, KeyRing
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.metrics import Metrics
from lepton_ray.serving.recent import Recent
from tests.serving.asking import Clock, Reply, ask

OPEN = ("/v2/health/live", "/v2/health/ready")
LARGE = b" " * (INLINE_BODY + 1)


def app_behind(guard: Guard, work: Callable[[bytes], bytes] = lambda body: b'{"said":%d}' % len(body)) -> ASGIApp:
    routes = [Route("/predict", answered(work), methods=["POST"]), Route("/page", constant(b"<p>", "text/html"))]
    routes += [Route(path, constant(b"{}")) for path in (*OPEN, "/metrics")]
    return app_of(routes, Metrics("m", "b"), guide="/", guard=guard)


def one(app: ASGIApp, path: str = "/predict", **options: Any) -> Reply:
    return asyncio.run(ask(app, path, **options))


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    file = KeyFile(tmp_path / "keys.json")
    return {name: file.add(name, scopes, "now") for name, scopes in (("shop", ["predict"]), ("watch", ["admin"]))}


def keyed(tmp_path: Path, **options: Any) -> ASGIApp:
    return app_behind(Guard(options.pop("limits", None), KeyRing(tmp_path / "keys.json", Clock()), **options))


def test_each_route_wants_its_scope(tmp_path: Path, keys: dict[str, str]) -> None:
    app = keyed(tmp_path)

    def status(path: str, key: str = "", method: str = "GET") -> int:
        headers = {"authorization": f"Bearer {keys[key]}"} if key else {}
        return one(app, path, method=method, headers=headers).status

    assert [status(path) for path in OPEN] == [200, 200]
    for path, key, wrong in (("/page", "shop", "watch"), ("/metrics", "watch", "shop")):
        assert (status(path), status(path, wrong), status(path, key)) == (401, 403, 200)
    assert (status("/predict", method="POST"), status("/predict", "watch", "POST")) == (401, 403)
    assert status("/predict", "shop", "POST") == 200
    assert (status("/nowhere"), status("/nowhere", "shop")) == (401, 404)


@pytest.mark.parametrize("form", ["Bearer {}", "bearer  {}", "x-api-key", "basic"])
def test_a_key_comes_in_three_forms(tmp_path: Path, keys: dict[str, str], form: str) -> None:
    shown, app = keys["shop"], keyed(tmp_path)
    if form == "x-api-key":
        headers = {"x-api-key": shown}
    elif form == "basic":
        headers = {"authorization": f"Basic {base64.b64encode(f'me:{shown}'.encode()).decode()}"}
    else:
        headers = {"authorization": form.format(shown)}
    assert one(app, headers=headers).status == 200


def test_what_is_no_key_is_refused_in_words(tmp_path: Path, keys: dict[str, str]) -> None:
    app, shown = keyed(tmp_path), keys["shop"].encode()
    for headers in (
        [],
        [(b"authorization", b"Bearer")],
        [(b"authorization", shown)],
        [(b"authorization", b"Bearer " + shown[:-1])],
        [(b"authorization", b"Bearer " + shown + b"x")],
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", b"Basic ***")],
        [(b"authorization", b"Basic " + base64.b64encode(b"\xff"))],
        [(b"authorization", b"Digest " + shown)],
        [(b"authorization", b"Bearer " + shown), (b"authorization", b"Bearer " + shown)],
        [(b"authorization", b"Bearer " + shown), (b"x-api-key", shown)],
    ):
        reply = one(app, headers=headers)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer"), headers
        assert "key" in reply.error and keys["shop"] not in reply.error
    browser = one(app, "/page", method="GET", headers={"accept": "text/html,*/*"})
    assert browser.headers["www-authenticate"].startswith("Basic ")


def test_a_file_of_keys_that_is_gone_lets_nobody_in(tmp_path: Path, keys: dict[str, str]) -> None:
    clock = Clock()
    app = app_behind(Guard(ring=KeyRing(tmp_path / "keys.json", clock)))
    headers = {"x-api-key": keys["shop"]}
    assert one(app, headers=headers).status == 200
    (tmp_path / "keys.json").unlink()
    clock.now += 1.0
    reply = one(app, headers=headers)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5") and "keys" in reply.error


def test_a_key_that_asks_too_often_waits_and_others_do_not(tmp_path: Path, keys: dict[str, str]) -> None:
    clock = Clock()
    other = KeyFile(tmp_path / "keys.json").add("till", ["predict"], "now")
    shop, till = {"x-api-key": keys["shop"]}, {"x-api-key": other}
    app = keyed(tmp_path, limits=Limits(rate=0.5, burst=3), clock=clock)
    assert [one(app, headers=shop).status for _ in range(3)] == [200] * 3
    refused = one(app, headers=shop)
    assert (refused.status, refused.headers["retry-after"]) == (429, "2")
    assert "The key shop asks more often than 0.5 times a second" in refused.error
    assert one(app, headers=till).status == 200
    assert one(app, "/page", method="GET", headers=shop).status == 200
    clock.now += 2.0
    assert [one(app, headers=shop).status for _ in range(2)] == [200, 429]


def test_the_rate_is_the_endpoints_whatever_the_number_of_replicas() -> None:
    clock, number = Clock(), [2]
    limits = Limits(rate=10, burst=10)
    apps = [app_behind(Guard(limits, clock=clock, replicas=lambda: number[0])) for _ in range(2)]

    def passed(asked: int) -> int:
        return [one(apps[turn % 2]).status for turn in range(asked)].count(200)

    assert passed(40) == 10  # the burst, five in each
    clock.now += 2.0
    assert passed(40) == 10  # two seconds fill no more than the burst
    seconds = [0.1] * 50
    counted = 0
    for step in seconds:
        clock.now += step
        counted += passed(4)
    assert counted == pytest.approx(50, abs=2)  # 5 s of 10 a second, asked for 40 a second
    number[0] = 1  # one is gone: the other takes over its part
    clock.now += 100.0
    assert [one(apps[0]).status for _ in range(12)].count(200) == 10
    number[0] = 4  # two more: what is left of the burst is cut to the new part
    clock.now += 100.0
    assert [one(apps[1]).status for _ in range(12)].count(200) == 2


def test_a_body_is_bounded_in_bytes_and_seconds_however_it_comes() -> None:
    app = app_behind(Guard(Limits(body=1000, read=0.05)))
    assert one(app, body=[b" " * 500, b" " * 500]).status == 200
    for body in (b" " * 1001, [b" " * 600] * 2, [b" " * 900] * 1000):
        reply = one(app, body=body)
        assert (reply.status, reply.headers["connection"]) == (413, "close") and "1000 bytes" in reply.error
    reply = one(app, body=b"[", stalls=True)
    assert (reply.status, reply.headers["connection"]) == (408, "close") and "0.05 seconds" in reply.error
    assert one(app).status == 200


def test_headers_are_bounded() -> None:
    reply = one(app_behind(Guard()), headers=[(b"x-long", b"x" * 40_000)])
    assert reply.status == 431 and "headers" in reply.error


async def flood(app: ASGIApp, count: int, body: bytes = b"{}") -> list[tuple[Reply, float]]:
    """Ask so many times at once; each with the seconds that its answer took."""

    async def timed() -> tuple[Reply, float]:
        began = time.monotonic()
        reply = await ask(app, "/predict", body=body)
        return reply, time.monotonic() - began

    return await asyncio.gather(*(timed() for _ in range(count)))


def test_above_the_queue_all_are_refused_at_once_and_the_rest_is_answered() -> None:
    def slow(body: bytes) -> bytes:
        time.sleep(0.002)
        return b"{}"

    app = app_behind(Guard(Limits(work=2, queue=8)), slow)
    replies = asyncio.run(flood(app, 60))
    refused = [(reply, seconds) for reply, seconds in replies if reply.status == 429]
    assert [reply.status for reply, _ in replies].count(200) + len(refused) == 60 and len(refused) >= 48
    assert max(seconds for _, seconds in refused) < 0.05
    assert all(int(reply.headers["retry-after"]) >= 1 and "wait" in reply.error for reply, _ in refused)
    assert [reply.status for reply, _ in asyncio.run(flood(app, 10))] == [200] * 10


def test_between_two_works_the_loop_sees_what_has_come() -> None:
    """A work in the loop holds it; of many that wait no more than ``work`` follow one another without a look around."""
    runs: list[int] = []

    async def main() -> None:
        looks = 0

        def work(body: bytes) -> bytes:
            runs.append(looks)
            return b"{}"

        async def look() -> None:
            nonlocal looks
            while len(runs) < 20:
                looks += 1
                await asyncio.sleep(0)

        await asyncio.gather(look(), flood(app_behind(Guard(Limits(work=2, queue=50)), work), 20))

    asyncio.run(main())
    assert max(runs.count(look) for look in runs) <= 2


def test_a_work_that_takes_too_long_is_told_and_keeps_its_turn_until_it_ends() -> None:
    go, seen = threading.Event(), list[int]()

    def stuck(body: bytes) -> bytes:
        seen.append(len(body))
        assert go.wait(20)
        return b"{}"

    async def main() -> list[Reply]:
        app = app_behind(Guard(Limits(time=0.2, work=1, queue=1)), stuck)
        first = await ask(app, "/predict", body=LARGE)
        waited = await ask(app, "/predict", body=LARGE)
        assert seen == [len(LARGE)]
        go.set()
        while (last := await ask(app, "/predict", body=LARGE)).status != 200:
            assert last.status in (429, 503)
        return [first, waited]

    for reply in asyncio.run(main()):
        assert reply.status == 503 and "0.2 seconds" in reply.error and reply.headers["retry-after"] == "1"


def test_a_caller_who_leaves_gives_up_the_place() -> None:
    async def main() -> None:
        go = threading.Event()
        app = app_behind(Guard(Limits(work=1, queue=1)), lambda body: b"{}" if go.wait(20) else b"")
        gone = [asyncio.ensure_future(ask(app, "/predict", body=LARGE)) for _ in range(2)]
        await asyncio.sleep(0)  # both are inside: one is worked on, one waits
        assert (await ask(app, "/predict", body=LARGE)).status == 429
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        go.set()
        while (reply := await ask(app, "/predict", body=LARGE)).status != 200:
            assert reply.status == 429
            await asyncio.sleep(0)
        assert [reply.status for reply, _ in await flood(app, 1, LARGE)] == [200]

    asyncio.run(main())


@pytest.mark.exam
def test_bodies_that_do_not_come_take_no_turn_and_are_bounded_too() -> None:
    async def main() -> None:
        app = app_behind(Guard(Limits(work=1, queue=3, read=0.3)))
        slow = [asyncio.ensure_future(ask(app, "/predict", body=b"[", stalls=True)) for _ in range(3)]
        await asyncio.sleep(0)
        assert (await ask(app, "/predict")).status == 200
        slow += [asyncio.ensure_future(ask(app, "/predict", body=b"[", stalls=True)) for _ in range(3)]
        statuses = sorted(reply.status for reply in await asyncio.gather(*slow))
        assert statuses == [408, 408, 408, 408, 429, 429]
        assert (await ask(app, "/predict")).status == 200

    asyncio.run(main())


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_names_of_a_request_are_taken_over_or_made() -> None:
    app = app_behind(Guard())
    reply = one(app, headers={"x-request-id": "order-7", "traceparent": f"00-{TRACE}-{SPAN}-01"})
    version, trace, span, flags = reply.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01") and span != SPAN
    assert reply.headers["x-request-id"] == "order-7"
    made = {one(app).headers["traceparent"] for _ in range(20)}
    assert len({parent.split("-")[1] for parent in made}) == 20
    newer = one(app, headers={"traceparent": f"01-{TRACE}-{SPAN}-01-more"})
    assert newer.headers["traceparent"].split("-")[1] == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        *(f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}"),
        *(f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", "x", f"00-{TRACE}-{SPAN}-01\nx"),
    ],
)
def test_what_is_no_trace_is_not_taken_over(parent: str) -> None:
    reply = one(app_behind(Guard()), headers={"traceparent": parent, "x-request-id": "a b\n"})
    made = reply.headers["traceparent"].split("-")
    assert made[1] != TRACE and [len(part) for part in made] == [2, 32, 16, 2]
    assert reply.headers["x-request-id"] == made[1]


def test_each_request_leaves_a_line_without_a_value(tmp_path: Path, keys: dict[str, str]) -> None:
    log = AccessLog(tmp_path / "log" / "access-0.log", now=lambda: 1234.5)
    app = keyed(tmp_path, log=log)

    async def main() -> None:
        await ask(app, "/predict", body=b'["secret"]', headers={"x-api-key": keys["shop"], "x-request-id": "seven"})
        await ask(app, "/secret", method="GET")

    asyncio.run(main())
    log.flush()
    text = (tmp_path / "log" / "access-0.log").read_text()
    assert "secret" not in text and keys["shop"] not in text
    first, second = (line for line in text.splitlines())
    for part in ('"time": 1234.5', '"key": "shop"', '"id": "seven"', '"status": 200', '"route": "/predict"'):
        assert part in first
    assert '"status": 401' in second and '"route": "other"' in second


def test_the_log_is_bounded_and_a_full_disk_costs_lines_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = AccessLog(tmp_path / "access.log", most=2000)
        for number in range(200):
            log.add({"number": number, "fill": "x" * 50})
            log.flush()
        full = AccessLog("/dev/full")
        full.add({"number": 1})
        full.flush()

    asyncio.run(main())
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["access.log", "access.log.1", "access.log.2"]
    assert all(file.stat().st_size < 2200 for file in files)
    assert "1 lines" in caplog.text and "No space left" in caplog.text


def test_limits_are_read_in_words() -> None:
    assert Limits.of("") == Limits.of({}) == Limits()
    assert Limits.of(" rate=0.5, rows=10 ") == Limits(rate=0.5, rows=10)
    for text in ("speed=1", "rows", "rows=", "rows=1.5", "rows=0", "time=0", "rate=-1", "rate=nan", "body=inf"):
        with pytest.raises(UsageError, match="limit"):
            Limits.of(text)


def test_what_comes_is_worked_on_and_waits_is_told() -> None:
    clock = Clock()
    recent, go = Recent(clock), threading.Event()

    async def main() -> None:
        app = app_behind(
            Guard(Limits(work=1, queue=1), clock=clock, recent=recent), lambda body: b"{}" if go.wait(20) else b""
        )
        held = [asyncio.ensure_future(ask(app, "/predict", body=LARGE)) for _ in range(2)]
        while not app_busy(recent):
            await asyncio.sleep(0.001)
        assert (await ask(app, "/predict", body=LARGE)).status == 429
        clock.now += 2.0
        beat = recent.beat()
        assert (beat.busy, beat.waiting) == (pytest.approx(1.0), pytest.approx(1.0))
        assert beat.answered == 0 and beat.rate > 0
        go.set()
        assert [reply.status for reply in await asyncio.gather(*held)] == [200, 200]

    def app_busy(recent: Recent) -> bool:
        return (recent._working, recent._waiting) == (1, 1)

    asyncio.run(main())
    beat = recent.beat()
    assert beat.answered == 2 and 1.9 < beat.p50 < 2.3
    assert (recent._working, recent._waiting) == (0, 0)
