"""What stands in Serve's proxy: nothing that steers Serve gets in, and its plain words go out as JSON."""

import asyncio

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lepton_ray.serving.front import Front, kept
from tests.serving.asking import Clock, Reply, ask


def through(inner: ASGIApp) -> Reply:
    return asyncio.run(ask(Front(inner), "/predict"))


@pytest.mark.parametrize(
    "name",
    [
        *("x-request-timeout-seconds", "x-request-disconnect-disabled", "x-session-id", "x_session_id"),
        *("serve_multiplexed_model_id", "serve-multiplexed-model-id", "serve_multiplexed-model_id"),
    ],
)
def test_what_steers_serve_is_taken_away(name: str) -> None:
    plain = [(b"host", b"here"), (b"x-request-id", b"seven"), (b"traceparent", b"00")]
    assert kept([*plain, (name.encode(), b"\xff")]) == plain


def test_a_request_id_is_one_that_can_be_logged_and_only_one() -> None:
    for wrong in (b"", b"a b", b"\xff", b"x" * 129, b"a\nb"):
        assert kept([(b"x-request-id", wrong)]) == []
    assert kept([(b"x-request-id", b"a"), (b"x-request-id", b"b")]) == [(b"x-request-id", b"a")]


@pytest.mark.parametrize(
    ("inner", "status", "said", "retry"),
    [
        (PlainTextResponse("Request dropped due to backpressure", 503, {"retry-after": "4"}), 503, "busy", "4"),
        (PlainTextResponse("Too many", 429), 429, "wait here", "1"),
        (PlainTextResponse("Request 7 timed out after 30s.", 408), 503, "in time", "1"),
        (PlainTextResponse("Path '/x' not found.", 404), 404, "Nothing is served", None),
        (PlainTextResponse("Traceback: a secret", 500), 500, "failed", None),
    ],
)
def test_what_serve_refuses_is_said_as_json(inner: Response, status: int, said: str, retry: str | None) -> None:
    inner.headers["x-request-id"] = "seven"
    reply = through(inner)
    assert (reply.status, reply.headers.get("retry-after")) == (status, retry)
    assert said in reply.error and "secret" not in reply.error
    assert reply.headers["x-request-id"] == "seven"


def test_what_the_endpoint_says_goes_through_as_it_is() -> None:
    for inner in (JSONResponse({"error": "ours"}, 422), PlainTextResponse("# HELP", 200), Response(b"", 204)):
        reply = through(inner)
        assert (reply.status, reply.body) == (inner.status_code, inner.body)


def test_a_crowd_is_refused_at_once_and_who_watches_is_not() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/predict":
                await go.wait()
            await Response(b"{}")(scope, receive, send)

        app = Front(slow, inside=2)
        held = [asyncio.ensure_future(ask(app, "/predict")) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await ask(app, "/predict")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1") and "wait" in refused.error
        assert (await ask(app, "/v2/health/ready")).status == 200
        go.set()
        assert [reply.status for reply in await asyncio.gather(*held)] == [200, 200]
        assert (await ask(app, "/predict")).status == 200

    asyncio.run(main())


def test_a_request_that_a_dying_replica_dropped_can_be_tried_again() -> None:
    async def dropped(scope: Scope, receive: Receive, send: Send) -> None:
        return None

    reply = through(dropped)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1") and "replaced" in reply.error


def test_a_request_to_a_sleeping_endpoint_is_held_and_then_sent_away() -> None:
    clock = Clock()

    async def main() -> None:
        woken = asyncio.Event()

        async def inner(scope: Scope, receive: Receive, send: Send) -> None:
            await woken.wait()
            await Response(b"{}")(scope, receive, send)

        app = Front(inner, inside=2, idle=60.0, wake=0.05, clock=clock)
        clock.now += 59
        refused = await ask(app, "/predict")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5") and "asleep" in refused.error
        held = asyncio.ensure_future(ask(app, "/predict"))
        await asyncio.sleep(0)
        woken.set()
        assert (await held).status == 200
        woken.clear()
        held = asyncio.ensure_future(ask(app, "/predict"))  # an answer was just heard: it is awake, only slow
        await asyncio.wait({held}, timeout=0.2)
        assert not held.done()
        woken.set()
        assert (await held).status == 200

    asyncio.run(main())


@pytest.mark.parametrize("says", [True, False])
def test_what_serve_makes_of_being_stopped_is_not_passed_on(says: bool) -> None:
    clock = Clock()

    async def swallows(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            if says:
                await PlainTextResponse("cancelled", 499)(scope, receive, send)

    app = Front(swallows, idle=1.0, wake=0.02, clock=clock)
    clock.now += 5
    reply = asyncio.run(ask(app, "/predict"))
    assert (reply.status, reply.headers["retry-after"]) == (503, "5") and "asleep" in reply.error


def test_an_answer_that_has_begun_takes_its_time_though_the_endpoint_slept() -> None:
    clock = Clock()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"late"})

    app = Front(slow, idle=1.0, wake=0.05, clock=clock)
    clock.now += 5
    reply = asyncio.run(ask(app, "/predict"))
    assert (reply.status, reply.body) == (200, b"late")


def test_a_refusal_of_serve_is_no_sign_of_life() -> None:
    clock = Clock()

    async def main() -> None:
        app = Front(PlainTextResponse("dropped", 503), idle=1.0, wake=5.0, clock=clock)
        clock.now += 5
        assert (await ask(app, "/predict")).status == 503
        assert app._heard == 1000.0

    asyncio.run(main())
