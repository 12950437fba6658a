"""A real browser without a window: what a page looks like in it, and what its console says."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here to open the page in")


@dataclass(frozen=True)
class Seen:
    """A page as a browser has it: the document after loading, a screenshot, and the lines of its console."""

    document: str
    screen: Image.Image
    console: list[str]


def opened(page: Path, folder: Path, dark: bool = False, height: int = 8_000) -> Seen:
    shot = folder / "screen.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--window-size=900,{height}", "--enable-logging=stderr"]
    # Blink's own numbers of what a person prefers: 0 is dark, 1 is light.
    options.append(f"--blink-settings=preferredColorScheme={int(not dark)}")
    command = [str(BROWSER), *options, f"--screenshot={shot}", "--dump-dom", page.absolute().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Image.open(shot) as image:
        screen = image.convert("RGB")
    return Seen(done.stdout, screen, re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr))


def colours(screen: Image.Image) -> set[str]:
    """Every colour on it, as in a stylesheet."""
    found = screen.getcolors(screen.width * screen.height)
    assert found
    return {"#{:02x}{:02x}{:02x}".format(*colour) for _, colour in found}
