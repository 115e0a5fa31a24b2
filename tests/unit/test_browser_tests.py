"""scripts/browser_tests.py: where there is no browser, it says so, and CI fails."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "browser_tests", ROOT / "scripts" / "browser_tests.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("CNNLIB_BROWSER", raising=False)
    monkeypatch.delenv("CNNLIB_CHROMIUM", raising=False)
    return module


@pytest.fixture
def ran(script, monkeypatch):
    """The commands that the script runs, instead of running them."""
    commands = []

    class Done:
        returncode = 0

    def run(command, **options):
        commands.append((command, options))
        return Done

    monkeypatch.setattr(script.subprocess, "run", run)
    return commands


@pytest.mark.parametrize(("setting", "status"), [("", 0), ("required", 1)])
def test_without_a_browser_one_line_says_what_was_not_tested(
    script, ran, monkeypatch, capsys, setting, status
):
    monkeypatch.setenv("CNNLIB_BROWSER", setting)
    monkeypatch.setattr(script.shutil, "which", lambda name: None)
    assert script.main([]) == status
    printed = capsys.readouterr().out
    assert printed.startswith("NOT TESTED: the lessons in a real browser")
    assert printed.count("\n") == 1
    assert ran == []


def test_root_on_debian_gets_the_browser(script, ran, monkeypatch, capsys):
    monkeypatch.setattr(script.os, "geteuid", lambda: 0, raising=False)
    there = {"apt-get": "/usr/bin/apt-get"}

    def run(command, **options):
        if "install" in command:
            there["chromium"] = "/usr/bin/chromium"
        ran.append((command, options))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(script.shutil, "which", there.get)
    monkeypatch.setattr(script.subprocess, "run", run)
    assert script.main(["-k", "pad"]) == 0
    assert [command[0] for command, _ in ran[:2]] == ["apt-get", "apt-get"]
    command, options = ran[-1]
    assert command[1:] == ["-m", "pytest", "tests/browser", "-k", "pad"]
    assert options["env"]["CNNLIB_CHROMIUM"] == "/usr/bin/chromium"


def test_a_browser_may_be_named(script, ran, monkeypatch):
    monkeypatch.setenv("CNNLIB_CHROMIUM", "my-chrome")
    monkeypatch.setattr(script.shutil, "which", {"my-chrome": "/opt/my-chrome"}.get)
    assert script.main([]) == 0
    assert ran[0][1]["env"]["CNNLIB_CHROMIUM"] == "/opt/my-chrome"


def test_ci_requires_the_browser():
    assert "export CNNLIB_BROWSER=required" in (ROOT / ".ci" / "run").read_text("utf-8")
