"""scripts/setup_venv.py: when an environment counts as finished, and what is said if it cannot be.

Nothing is installed here: environments are faked, `make test` itself is the whole trial.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "setup_venv.py"


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """Return the script's module at work in an empty project; `installed` lists what it did."""
    spec = importlib.util.spec_from_file_location("setup_venv", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    installed = []

    def run(command, env=None):
        if command[1:3] == ["-m", "venv"]:
            python = Path(module.python_of(command[3]))
            python.parent.mkdir(parents=True)
            python.touch()
        else:
            installed.append(command)

    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "has_ensurepip", lambda: True)
    # A faked Python cannot answer: it is usable where nothing speaks against it.
    version = repr(sys.version_info[:2])
    monkeypatch.setattr(module.subprocess, "check_output", lambda *_, **__: version)
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "requirements.txt").write_text("-e .[lessons]")
    monkeypatch.chdir(tmp_path)
    module.installed = installed
    return module


def test_a_second_run_installs_nothing(setup):
    setup.main("lessons")
    assert len(setup.installed) == 1
    setup.main("lessons")
    assert len(setup.installed) == 1


def test_the_environment_of_the_tests_serves_the_lessons_but_not_the_other_way(setup):
    setup.main("lessons")
    setup.main("test")
    assert len(setup.installed) == 2
    setup.main("lessons")
    setup.main("test")
    assert len(setup.installed) == 2


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.txt"])
def test_a_change_of_what_is_required_installs_again_in_place(setup, name):
    setup.main("lessons")
    kept = Path(".venv", "kept")
    kept.touch()
    Path(name).write_text("changed")
    setup.main("lessons")
    assert len(setup.installed) == 2
    assert kept.exists()


def test_an_interrupted_install_is_thrown_away(setup, monkeypatch):
    setup.main("lessons")
    left = Path(".venv", "half-installed")
    left.touch()
    with monkeypatch.context() as patch:
        Path("requirements.txt").write_text("changed")
        patch.setattr(setup, "install", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(SystemExit, match="The same command starts it again"):
            setup.main("lessons")
    # Even with the old requirements back, the environment counts as unfinished.
    Path("requirements.txt").write_text("-e .[lessons]")
    setup.main("lessons")
    assert len(setup.installed) == 2
    assert not left.exists()


def test_an_environment_of_another_python_or_place_is_made_anew(setup, monkeypatch):
    setup.main("lessons")
    left = Path(".venv", "left")
    left.touch()
    monkeypatch.setattr(setup.subprocess, "check_output", lambda *_, **__: "(3, 10)")
    Path("requirements.txt").write_text("changed")
    setup.main("lessons")
    assert not left.exists()
    left.touch()
    stamp = Path(".venv", setup.STAMP)
    stamp.write_text(stamp.read_text().replace(Path.cwd().name, "elsewhere"))
    setup.main("lessons")
    assert not left.exists()


def test_an_old_python_gets_a_sentence(setup, monkeypatch):
    monkeypatch.setattr(setup.sys, "version_info", (3, 10, 2))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer; .* is Python 3\.10"):
        setup.main("lessons")


@pytest.fixture
def debian_without_venv(setup, monkeypatch):
    monkeypatch.setattr(setup, "has_ensurepip", lambda: False)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    default = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    monkeypatch.setattr(setup.os.path, "realpath", lambda path: default)
    return setup


def test_without_ensurepip_a_user_gets_one_line_to_run(debian_without_venv, monkeypatch):
    monkeypatch.setattr(debian_without_venv.os, "geteuid", lambda: 1000, raising=False)
    with pytest.raises(SystemExit) as stopped:
        debian_without_venv.need_ensurepip()
    line = "apt-get update && apt-get install -y python3-venv"
    assert str(stopped.value).splitlines()[-1].strip() == line
    assert debian_without_venv.installed == []


def test_without_ensurepip_root_installs_it(debian_without_venv, monkeypatch):
    setup = debian_without_venv
    answers = iter([False, True])
    monkeypatch.setattr(setup, "has_ensurepip", lambda: next(answers))
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0, raising=False)
    setup.need_ensurepip()
    assert setup.installed == [
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "python3-venv"],
    ]


def test_neither_sudo_nor_a_change_of_the_systems_python():
    text = SCRIPT.read_text("utf-8") + (SCRIPT.parents[1] / "Makefile").read_text("utf-8")
    assert "sudo" not in text
    assert "break-system-packages" not in text
