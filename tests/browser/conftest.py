"""A real JupyterLab on 127.0.0.1, and a headless Chromium that visits it.

`scripts/browser_tests.py` finds the browser and runs these tests; `make test` calls it.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from lab import Lab

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
OWN = {"127.0.0.1", "localhost", ""}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start JupyterLab with folders of its own; give its address and the folder it serves."""
    home = tmp_path_factory.mktemp("jupyter")
    root = home / "served"
    (root / "notebooks").mkdir(parents=True)
    (root / "images").symlink_to(ROOT / "images")
    config, settings = home / "config", home / "settings"
    (config / "labconfig").mkdir(parents=True)
    # No news: JupyterLab would ask a server on the internet whether there are any.
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "labconfig" / "page_config.json").write_text(json.dumps(news))
    # All cells are in the page, also those far below.
    tracker = settings / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "HOME": str(home),
        "MPLCONFIGDIR": str(home / "matplotlib"),
    }
    port = free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={root}", "--IdentityProvider.token="),
        "--ServerApp.disable_check_xsrf=True",  # the tests end kernels without a page
        *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url="),
    ]
    log = home / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/api/status", process, log)
            yield address, root
        finally:
            process.terminate()
            process.wait(20)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=os.environ["CNNLIB_CHROMIUM"], args=FLAGS
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test on an error in it and on a request off this machine."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    wrong: list[str] = []

    def look_at(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and (parts.hostname or "") not in OWN:
            wrong.append(f"request off this machine: {request.url[:200]}")

    page.on("request", look_at)
    page.on("pageerror", lambda error: wrong.append(f"error in the page: {error}"))
    page.set_default_timeout(20_000)
    yield page
    context.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def lab(server: tuple[str, Path], page: Page) -> Iterator[Lab]:
    visit = Lab(page, *server)
    yield visit
    visit.close()
