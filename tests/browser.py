"""A headless Chromium, spoken to through a pipe: its DevTools protocol, null-terminated JSON on descriptors 3 and 4;
and the page of an endpoint, asked in it."""

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import pytest
import uvicorn

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
SECONDS = 30
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
_FIRST_FREE = 10
_PLACED = """import os, sys
for place, number in enumerate(sys.argv[1:3], start=3):
    os.dup2(int(number), place)
os.execv(sys.argv[3], sys.argv[3:])"""
"""In a process of its own: 3 and 4 may be what ``subprocess`` needs between its fork and its exec."""


class Tab:
    """One page of a browser."""

    def __init__(self, said: int, heard: int, log: BinaryIO) -> None:
        self._log = log
        self._said, self._heard = os.fdopen(said, "wb"), os.fdopen(heard, "rb")
        self._number, self._session, self.events = 0, "", list[dict[str, Any]]()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result; what happens meanwhile is kept in ``events``."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        self._said.write(json.dumps(message).encode() + b"\0")
        self._said.flush()
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        text = b""
        while not text.endswith(b"\0"):
            byte = self._heard.read(1)
            if not byte:
                self._log.seek(0)
                raise RuntimeError(f"Chromium ended: {self._log.read()[-1000:].decode(errors='replace')}")
            text += byte
        return dict(json.loads(text[:-1]))

    def open(self, url: str) -> None:
        """Load a page and return once its own script has run."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What an expression is in the page; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", "it threw"))
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Return once the condition holds in the page."""
        asked = f"""new Promise((yes, no) => {{
          const end = Date.now() + {1000 * SECONDS};
          const late = () => no(new Error("not in time"));
          const look = () => (({condition}) ? yes(true) : Date.now() > end ? late() : setTimeout(look, 20));
          look();
        }})"""
        self.value(asked)

    def press(self, key: str, code: int) -> None:
        """Press a key where the focus is."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def seen_as(self, width: int, scheme: str) -> None:
        """Make the window so wide, and light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG file."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def faults(self) -> list[str]:
        """What the page complained of so far: errors of scripts and of its policy."""
        said = [event["params"]["entry"]["text"] for event in self.events if event.get("method") == "Log.entryAdded"]
        thrown = [event for event in self.events if event.get("method") == "Runtime.exceptionThrown"]
        return said + [str(event["params"]["exceptionDetails"]) for event in thrown]


@contextmanager
def open_browser() -> Iterator[Tab]:
    """Start Chromium, and end it and all that it started."""
    assert CHROMIUM is not None
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    handed = [fcntl.fcntl(one, fcntl.F_DUPFD, _FIRST_FREE) for one in (theirs_in, theirs_out)]

    whole = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
    with whole as profile, tempfile.TemporaryFile() as log:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "--hide-scrollbars"]
        child = subprocess.Popen(
            [sys.executable, "-c", _PLACED, *map(str, handed), *command],
            pass_fds=handed,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"TMPDIR": profile},
        )
        for one in (theirs_in, theirs_out, *handed):
            os.close(one)
        try:
            tab = Tab(ours_out, ours_in, log)
            yield tab
            tab.call("Browser.close")  # it removes its socket in /tmp
            child.wait(SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An app at a port of its own; its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    sockets = [server.config.bind_socket()]
    sockets[0].listen()
    thread = Thread(target=server.run, args=(sockets,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def ask(tab: Tab) -> dict[str, Any]:
    """Press the button, and return the row that the page sent, what it showed, and the bars."""
    tab.value(
        """{ const plain = window.plain || (window.plain = window.fetch); window.sent = {};
        window.fetch = (path, how) => { if (how && how.body) window.sent[path] = how; return plain(path, how); }; 0 }"""
    )
    tab.value("document.getElementById('why').dataset.done = ''")
    tab.value("document.getElementById('ask').click()")
    tab.until("document.getElementById('why').dataset.done === 'true'")
    return dict(
        tab.value(
            """({ row: JSON.parse(window.sent.predict.body).rows[0], headers: window.sent.predict.headers,
            shown: JSON.parse(document.getElementById('prediction').dataset.value),
            text: document.getElementById('said').innerText,
            bars: [...document.querySelectorAll('#why th bdi')].map((one) => one.textContent),
            curl: document.getElementById('curl').textContent,
            python: document.getElementById('python').textContent })"""
        )
    )
