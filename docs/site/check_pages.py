# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens pages of a built site in Chromium: ``python check_pages.py FOLDER [PICTURES]``. Without Chromium it says so.

No page may be wider than a desktop's or a phone's screen, and none may write an error to the console. What is too wide
for a phone, such as a table, moves within itself; the commands of the front page fit. On a desktop the contents of a
page are at its side. What a block of commands copies are the commands alone. A search for "token" finds the first
machine's page. With PICTURES, a folder, each page is also photographed.

The browser is controlled over two pipes (its DevTools protocol), and gets an empty profile and no network.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PAGES = (
    "index.html",
    "reference/procure_offer_module.html",
    "reference/provision_role.html",
    "docs/first-machine.html",
    "docs/ownership.html",
    "docs/awx.html",
    "docs/playbook-quote.html",
)
SCREENS = {"desktop": (1280, 800), "phone": (390, 844)}
"""Pixels."""
THEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"),
    # A container may have a small /dev/shm, and Chromium ends when it is full.
    *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
SECONDS = 60
# Only on a laptop or wider
CONTENTS_AT_SIDE = """(drawer => !drawer || drawer.classList.contains("no-toc")
    || drawer.getBoundingClientRect().right <= innerWidth)(document.querySelector(".toc-drawer"))"""
WIDE_COMMANDS = "[...document.querySelectorAll('pre')].some(block => block.scrollWidth > block.clientWidth)"
# Each block of commands, and what its button copies
COPIED = """(() => {
    const blocks = [];
    let block;
    document.execCommand = () => blocks.push([block.textContent, document.activeElement.value]);
    for (const button of document.querySelectorAll(".highlight-console button.copybtn")) {
        block = button.parentElement.querySelector("pre");
        button.click();
    }
    return blocks;
})()"""
RESULTS = "[...document.querySelectorAll('#search-results ul.search > li > a')].map(link => link.href)"
MOST_BEFORE = 5
"""Results of the search before the page that is looked for."""


class Browser:
    """A browser with one page open."""

    def __init__(self, program: str, profile: str) -> None:
        # The browser reads commands from its file 3, and writes answers and events to its file 4.
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        shell = f'exec "$@" 3<&{commands} 4>&{answers}'
        self.log = Path(profile, "stderr.txt")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", shell, "browser", program, *OPTIONS, f"--user-data-dir={profile}"],
                pass_fds=(commands, answers),
                stderr=log,
            )
        os.close(commands)
        os.close(answers)
        self.buffer, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        # A page of its own: on a busy machine the browser answers before it has opened its first one.
        target = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def read(self) -> dict[str, Any]:
        """The next answer or event."""
        while b"\0" not in self.buffer:
            piece = os.read(self.answers, 1 << 16)
            if not piece:
                sys.exit(f"The browser has ended. Its last words: {self.log.read_text(errors='replace')[-2000:]}")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return dict(json.loads(message))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method, and return its result. Events that come meanwhile are kept."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            sys.exit(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def open(self, address: str) -> list[str]:
        """Open a page, wait until it is loaded, and return the errors on its console."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())
        # What the page does after that, such as its first drawing, comes before this.
        script = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
        self.call("Runtime.evaluate", expression=script, awaitPromise=True)
        return list(filter(None, map(complaint, self.events)))

    def evaluate(self, script: str) -> Any:
        """The value of an expression on the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"]["value"]


def complaint(event: dict[str, Any]) -> str:
    """What an event says of an error, else nothing."""
    method, about = event.get("method"), event.get("params", {})
    if method == "Runtime.exceptionThrown":
        details = about["exceptionDetails"]
        return str(details.get("exception", {}).get("description") or details["text"])
    if method == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
        return " ".join(str(each.get("value", "")) for each in about["args"])
    if method == "Log.entryAdded" and about["entry"]["level"] == "error":
        return f"{about['entry']['text']} {about['entry'].get('url', '')}"
    return ""


def look(browser: Browser, site: Path, pictures: Path | None) -> list[str]:
    """What is wrong with the pages."""
    found = []
    for screen, (width, height) in SCREENS.items():
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": screen == "phone"}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        for page in PAGES:
            for theme in THEMES if pictures else THEMES[:1]:
                browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
                found += [f"{page} on a {screen}: {error}" for error in browser.open((site / page).as_uri())]
                wide = browser.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    found.append(f"{page} on a {screen}: {wide} pixels wide, the screen has {width}")
                if screen == "phone" and page == "index.html" and browser.evaluate(WIDE_COMMANDS):
                    found.append("the commands of the front page do not fit a phone")
                if screen == "desktop" and not browser.evaluate(CONTENTS_AT_SIDE):
                    found.append(f"{page}: its contents are not at its side")
                if pictures:
                    shot = browser.call("Page.captureScreenshot", captureBeyondViewport=True)
                    name = f"{Path(page).stem}-{screen}-{theme}.png"
                    (pictures / name).write_bytes(base64.b64decode(shot["data"]))
    return found


def commands(printed: str) -> str:
    """The commands of a block: the lines that begin with a prompt, without it, and those that continue them."""
    kept: list[str] = []
    for line in printed.splitlines():
        if line.startswith("$ "):
            kept.append(line[2:])
        elif kept and kept[-1].endswith("\\") and line.startswith("    "):
            kept.append(line)
    return "\n".join(kept)


def use(browser: Browser, site: Path) -> list[str]:
    """What is wrong with what a reader does: copying commands, and searching."""
    found = []
    for page in ("index.html", "docs/first-machine.html", "docs/ceilings.html"):
        browser.open((site / page).as_uri())
        blocks = browser.evaluate(COPIED)
        found += [] if blocks else [f"{page}: no block can be copied"]
        found += [f"{page} copies {copied!r}" for printed, copied in blocks if copied.strip() != commands(printed)]
    browser.open(f"{(site / 'search.html').as_uri()}?q=token")
    until = time.monotonic() + SECONDS
    # The page shows one result after the other.
    while len(links := browser.evaluate(RESULTS)) < MOST_BEFORE and time.monotonic() < until:
        time.sleep(0.1)
    if not any(link.partition("?")[0].partition("#")[0].endswith("first-machine.html") for link in links[:MOST_BEFORE]):
        found.append(f"a search for token finds first: {links[:MOST_BEFORE]}")
    return found


def main() -> int:
    """Look at the pages, if there is a browser."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        print("SKIPPED the pages in a browser: there is no chromium")
        if "SUPPLY_SKIPPED" in os.environ:  # what the end of the output names
            with open(os.environ["SUPPLY_SKIPPED"], "a") as file:
                file.write("the pages in a browser: needs chromium: apt-get install chromium\n")
        return 0
    site = Path(sys.argv[1]).resolve()
    pictures = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            lines = [*look(browser, site, pictures), *use(browser, site)]
        finally:
            browser.process.terminate()
            browser.process.wait(SECONDS)
    print("\n".join(lines) or f"{len(PAGES)} pages fit on a desktop and a phone, copy and search, without an error.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
