"""Take the screenshots of docs/dashboard.md: `python docs/make_screenshots.py`. Needs Chromium and four minutes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).with_name("images")
WIDE, PHONE = (1440, 900), (390, 844)
MINUTES = 3


def main() -> None:
    """Run the live demo in a temporary folder and take its screenshots."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "demo"
        errors = Path(folder) / "stderr"
        command = [sys.executable, "-m", "chillflow", "demo", "--live", "--port", "0", "--folder", str(place)]
        with errors.open("wb") as stderr:
            demo = subprocess.Popen(
                [*command, "--trips", "60000", "--minutes", str(MINUTES)], stderr=stderr, stdout=subprocess.DEVNULL
            )
        try:
            while not (found := re.search(r"http://\S+", errors.read_text())):
                time.sleep(0.2)
            time.sleep(MINUTES * 60 * 0.6)  # the evening comes; all is taken before the day ends
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_as_root())
                take(browser, found[0], place)
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(30)


def take(browser: Browser, url: str, place: Path) -> None:
    """Take all screenshots, light and dark."""
    with sqlite3.connect(place / "trips.sqlite") as tables:
        ((key,),) = tables.execute("select trip_key from stg_incomplete_trip where not completed limit 1")
    for scheme in ("light", "dark"):
        page = opened(browser, url, WIDE, scheme)
        shoot(page, f"city-{scheme}")
        page.locator("[data-test=zone]").press_sequentially("Midtown Center")
        page.get_by_role("option", name="Midtown Center (161)").wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="South of 96th St").click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(1500)
        shoot(page, f"zone-{scheme}")
        page.get_by_role("button", name="Table", exact=True).click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)
        shoot(page, f"table-{scheme}")
        page.context.close()
        page = opened(browser, f"{url}trip?key={key}", WIDE, scheme)
        shoot(page, f"trip-{scheme}")
        page.context.close()
        page = opened(browser, url, PHONE, scheme)
        shoot(page, f"phone-{scheme}", whole=True)
        page.context.close()


def opened(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Page:
    """The page, loaded and drawn."""
    chosen: Literal["dark", "light"] = "dark" if scheme == "dark" else "light"
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_context(viewport=viewport, color_scheme=chosen).new_page()  # type: ignore[arg-type]
    page.goto(url)
    page.wait_for_timeout(5000)
    return page


def shoot(page: Page, name: str, *, whole: bool = False) -> None:
    """Write a screenshot."""
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


def _as_root() -> list[str]:
    return ["--no-sandbox"] if os.geteuid() == 0 else []


if __name__ == "__main__":
    main()
