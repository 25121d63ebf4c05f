"""A headless Chromium, driven through chromedriver's HTTP interface (https://www.w3.org/TR/webdriver2)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# No sandbox, because a test may run as root; nothing that Chromium would fetch by itself.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
).split()
KEYS = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Home": "\ue011", "End": "\ue010"}


def why_not() -> str | None:
    """Why there is no browser for the tests, if there is none."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (Debian: chromium, chromium-driver)" if missing else None


class Browser:
    """One window."""

    def __init__(self, session: str):
        self._session = session

    def open(self, page: Path) -> None:
        self._post("url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def texts(self, selector: str) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
        )

    def text(self, selector: str) -> str:
        (found,) = self.texts(selector)
        return found

    def click(self, selector: str) -> None:
        self._post(f"element/{self._element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into a field, or press keys of `KEYS`, such as `ArrowRight`, on an element."""
        self._post(f"element/{self._element(selector)}/value", {"text": KEYS.get(text, text)})

    def resize(self, width: int, height: int) -> None:
        self._post("window/rect", {"width": width, "height": height})

    def emulate(self, scheme: str) -> None:
        """Show pages in light or dark colours."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._post(
            "goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        )

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_request("GET", f"{self._session}/screenshot")))

    def messages(self) -> list[str]:
        """What the page complained of in the console since the last call."""
        return [entry["message"] for entry in self._post("se/log", {"type": "browser"})]

    def _element(self, selector: str) -> str:
        found = self._post("element", {"using": "css selector", "value": selector})
        return next(iter(found.values()))

    def _post(self, command: str, body: dict[str, Any]) -> Any:
        return _request("POST", f"{self._session}/{command}", body)


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, in an empty folder."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert driver.stdout is not None
        started = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
        port = next(match for match in started if match)[1]
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        address = f"http://127.0.0.1:{port}/session"
        made = _request("POST", address, {"capabilities": {"alwaysMatch": wanted}})
        session = f"{address}/{made['sessionId']}"
        try:
            yield Browser(session)
        finally:
            _request("DELETE", session)
    finally:
        driver.terminate()
        driver.wait(timeout=10)


def _request(method: str, address: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the driver is on this machine
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as wrong:
        raise RuntimeError(f"{address}: {wrong.read().decode()[:2000]}") from None
