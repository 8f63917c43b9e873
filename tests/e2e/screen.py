"""Shows a page as a person would see it: headless Chromium opens it, waits, and takes a screenshot.

Chromium's own `--screenshot` does not work for a live page: it captures at the load event, before anything is drawn,
and with a virtual time budget it waits forever for a page that listens to events. Therefore Chromium is controlled with its
DevTools protocol over a pipe: JSON messages that end with a zero byte.
"""

import base64
import itertools
import json
import os
import select
import shutil
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import install
from harness import Failure, Session, equal, expect

FLAGS = (
    "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-default-apps --disable-extensions --log-level=3"
).split()
WIDTH, HEIGHT = 1280, 1000


class Browser:
    """One headless browser with one page."""

    def __init__(self, t: Session, name: str):
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        program = program or install.debian("chromium", "chromium", "fonts-dejavu-core")
        orders, self.out = os.pipe()
        self.into, answers = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4; only a shell can assign these numbers.
        place = f'exec "$@" 3<&{orders} 4>&{answers}'
        flags = [
            *FLAGS,
            f"--window-size={WIDTH},{HEIGHT}",
            f"--user-data-dir={t.home}/{name}",
            "--remote-debugging-pipe",
        ]
        self.process = t.start(name, ["bash", "-c", place, "-", program, *flags], fds=(orders, answers))
        os.close(orders)
        os.close(answers)
        self.rest, self.ids, self.events = b"", itertools.count(1), []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.page = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def look(self, url: str, picture: Path, seconds: float) -> None:
        """Opens an address, waits for a while, and saves a screenshot."""
        went = self.call("Page.navigate", url=url)
        expect("errorText" not in went, f"{url}: {went.get('errorText')}")
        time.sleep(seconds)
        picture.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """The errors that the console would show in red."""
        found = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                entry = event["params"]["entry"]
                found.append(f"{entry['text']} {entry.get('url', '')}")
        return found

    def call(self, method: str, **params: object) -> dict:
        number = next(self.ids)
        order = {"id": number, "method": method, "params": params}
        if page := getattr(self, "page", None):
            order["sessionId"] = page
        os.write(self.out, json.dumps(order).encode() + b"\0")
        while (message := self.message(method)).get("id") != number:
            self.events.append(message)
        expect("error" not in message, f"{method}: {message.get('error')}")
        return message["result"]

    def message(self, method: str, timeout: float = 30) -> dict:
        while b"\0" not in self.rest:
            if not select.select([self.into], [], [], timeout)[0]:
                raise Failure(f"the browser did not answer {method} within {timeout:.0f} s")
            got = os.read(self.into, 1 << 20)
            expect(got, f"the browser ended before it answered {method}")
            self.rest += got
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)


def shows(t: Session, url: str, name: str, seconds: float = 5) -> None:
    """A browser shows something at this address, without errors. The screenshot is an artifact."""
    browser = Browser(t, f"browser-{name}")
    picture = t.artifacts / f"{name}.png"
    try:
        browser.look(url, picture, seconds)
    finally:
        browser.process.stop()
    not_blank(picture)
    equal(browser.complaints(), [], "errors on the page")


def not_blank(picture: Path) -> None:
    """A page with text and lines has many colors, and none of them covers nearly everything."""
    colours = Counter(pixels(picture.read_bytes()))
    share = colours.most_common(1)[0][1] / colours.total()
    expect(len(colours) >= 16 and share < 0.995, f"{len(colours)} colours, one of them on {share:.1%} of {picture}")


def pixels(png: bytes) -> list[bytes]:
    """The pixels of an 8-bit RGB or RGBA image that is not interlaced, as Chromium writes it."""
    expect(png[:8] == b"\x89PNG\r\n\x1a\n", "not a PNG")
    packed, at = b"", 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        chunk = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunk)
        elif kind == b"IDAT":
            packed += chunk
        at += 12 + length
    expect((depth, interlaced) == (8, 0) and colour in (2, 6), f"PNG of depth {depth}, colour type {colour}")
    size = 3 if colour == 2 else 4
    raw, stride = zlib.decompress(packed), width * size
    above, found = bytes(stride), []
    for row in range(height):
        start = row * (stride + 1)
        above = unfilter(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above, size)
        found += [bytes(above[i : i + 3]) for i in range(0, stride, size)]
    return found


def unfilter(kind: int, line: bytearray, above: bytes, size: int) -> bytes:
    """Reverses the prediction of a row from its left and upper neighbors (PNG specification, section 9)."""
    for i in range(len(line)) if kind else ():
        left, up, corner = (line[i - size], above[i], above[i - size]) if i >= size else (0, above[i], 0)
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            estimate = left + up - corner
            guess = min((left, up, corner), key=lambda neighbour: abs(estimate - neighbour))
        line[i] = (line[i] + guess) & 255
    return bytes(line)
