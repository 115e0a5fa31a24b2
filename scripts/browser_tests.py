"""Run the tests of the lessons in a real browser: tests/browser, in JupyterLab and Chromium.

    python scripts/browser_tests.py [arguments of pytest]

Chromium, or Chrome, has to be there. Where it is missing and this is Debian or Ubuntu and you are
root, it is installed with apt-get. Elsewhere one line says what was not tested, and the exit status
is 0; but 1 where the environment has CNNLIB_BROWSER=required, as .ci/run sets it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
)


def chromium() -> str | None:
    """Return the path of a Chromium or Chrome; the environment may name one in CNNLIB_CHROMIUM."""
    named = os.environ.get("CNNLIB_CHROMIUM")
    if named:
        return shutil.which(named)
    found = (shutil.which(name) for name in (*NAMES, *PLACES))
    return next((path for path in found if path), None)


def install() -> None:
    """Install Debian's Chromium, where this is Debian and we may."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    print("No Chromium is here; installing it with apt-get", flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "chromium"],
    ):
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
            return


def main(arguments: list[str]) -> int:
    """Find or install the browser, run the tests; return the exit status."""
    path = chromium()
    if path is None:
        install()
        path = chromium()
    if path is None:
        print(
            "NOT TESTED: the lessons in a real browser (sliders, DigitPad, quiz), since no "
            "Chromium or Chrome was found. Install one (Debian: apt-get install chromium), or "
            "name it in CNNLIB_CHROMIUM.",
            flush=True,
        )
        return int(os.environ.get("CNNLIB_BROWSER") == "required")
    environment = dict(os.environ, CNNLIB_CHROMIUM=path)
    command = [sys.executable, "-m", "pytest", "tests/browser", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
