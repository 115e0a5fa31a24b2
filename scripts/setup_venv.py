"""Make the virtual environment that a make target needs, or see in a moment that it is there.

    python3 scripts/setup_venv.py lessons|test|oldest|bench

An environment counts as finished when it holds a stamp over pyproject.toml, requirements.txt, the
Python version and its own place. While it is being changed it holds a mark instead, so that an
interrupted set-up is thrown away, not used.

This file runs before anything is installed and under any Python 3, so that an old one gets a clear
sentence and no syntax error: standard library only, no syntax newer than 3.5.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = {
    "lessons": ".venv",
    "test": ".venv",
    "oldest": ".venv-oldest",
    "bench": ".venv-bench",
}
# Who has the tests' environment has what the lessons need.
INCLUDES = {
    "lessons": ["lessons"],
    "test": ["lessons", "test"],
    "oldest": ["oldest"],
    "bench": ["bench"],
}
STAMP = "cnnlib-finished.json"
MARK = "cnnlib-unfinished"
OLDEST_PYTHON = (3, 11)


def main(profile):  # type: (str) -> None
    """Set up what `profile` needs, unless it is there already."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            "cnnlib needs Python {}.{} or newer; {} is Python {}.{}.\n"
            "Name a newer one: make ... PYTHON=/path/to/python3".format(
                OLDEST_PYTHON[0], OLDEST_PYTHON[1], sys.executable, *sys.version_info[:2]
            )
        )
    os.chdir(ROOT)
    venv = FOLDERS[profile]
    if finished(venv, profile):
        return
    need_ensurepip()
    try:
        if os.path.exists(venv) and not usable(venv):
            throw_away(venv)
        mark_unfinished(venv)
        if not os.path.exists(python_of(venv)):
            print("Making {} with Python {}".format(venv, sys.version.split()[0]), flush=True)
            run([sys.executable, "-m", "venv", venv])
        print("Installing into {}: some minutes, the first time".format(venv), flush=True)
        install(profile, python_of(venv))
        write_stamp(venv, profile)
    except KeyboardInterrupt:
        sys.exit("\nThe set-up was interrupted. The same command starts it again.")


def fingerprint():  # type: () -> str
    """Return a digest of everything that decides what an environment of ours holds."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "requirements.txt"):
        with open(name, "rb") as file:
            digest.update(file.read())
    for fact in (sys.version_info[:2], sys.implementation.name, sysconfig.get_platform()):
        digest.update(repr(fact).encode())
    return digest.hexdigest()


def read_stamp(venv):  # type: (str) -> dict
    """Return the stamp of an environment that was finished once, or an empty one."""
    stamp = {"fingerprint": "", "place": "", "profiles": []}
    try:
        with open(os.path.join(venv, STAMP)) as file:
            stamp.update(json.load(file))
    except (OSError, ValueError):
        pass
    return stamp


def finished(venv, profile):  # type: (str, str) -> bool
    """Say whether the environment holds what `profile` needs now."""
    stamp = read_stamp(venv)
    return (
        not os.path.exists(os.path.join(venv, MARK))
        and os.path.exists(python_of(venv))
        and stamp["fingerprint"] == fingerprint()
        and stamp["place"] == ROOT
        and profile in stamp["profiles"]
    )


def write_stamp(venv, profile):  # type: (str, str) -> None
    """Say that `profile` is finished, along with what still holds of the stamp before."""
    before = read_stamp(venv)
    profiles = set(INCLUDES[profile])
    if before["fingerprint"] == fingerprint():
        profiles.update(before["profiles"])
    stamp = {"fingerprint": fingerprint(), "place": ROOT, "profiles": sorted(profiles)}
    path = os.path.join(venv, STAMP)
    with open(path + ".new", "w") as file:
        json.dump(stamp, file)
    os.replace(path + ".new", path)
    os.remove(os.path.join(venv, MARK))


def mark_unfinished(venv):  # type: (str) -> None
    """Mark the environment before the first change to it."""
    os.makedirs(venv, exist_ok=True)
    with open(os.path.join(venv, MARK), "w") as file:
        file.write("A set-up is running or was interrupted; the next one starts anew.\n")


def usable(venv):  # type: (str) -> bool
    """Say whether an environment can be changed in place: whole, not moved, of this Python."""
    if os.path.exists(os.path.join(venv, MARK)):
        return False
    if read_stamp(venv)["place"] not in ("", ROOT):
        return False  # moved or copied: its scripts and the editable install hold the old path
    code = "import sys, pip; print(sys.version_info[:2])"
    try:
        version = subprocess.check_output(
            [python_of(venv), "-c", code], stderr=subprocess.DEVNULL, universal_newlines=True
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return version.strip() == repr(sys.version_info[:2])


def throw_away(venv):  # type: (str) -> None
    """Remove an environment; renamed first, so that half a removal is never taken for one."""
    print("{} is unfinished, moved or of another Python: starting anew".format(venv), flush=True)
    remains = venv + "-remains"
    shutil.rmtree(remains, ignore_errors=True)
    os.rename(venv, remains)
    shutil.rmtree(remains)


def python_of(venv):  # type: (str) -> str
    """Return the path of the environment's Python."""
    if os.name == "nt":
        return os.path.join(venv, "Scripts", "python.exe")
    return os.path.join(venv, "bin", "python")


def install(profile, python):  # type: (str, str) -> None
    """Install the profile's packages with the environment's own pip."""
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    if profile == "lessons":
        run([*pip, *quiet, "--requirement", "requirements.txt"])
    elif profile == "test":
        run([*pip, *quiet, "--requirement", "requirements.txt", "--editable", ".[test]"])
    elif profile == "bench":
        run([*pip, *quiet, "--editable", ".[bench]"])
    else:
        run([*pip, *quiet, "uv"])
        uv = [python, "-m", "uv", "pip", "install", "--python", python]
        run([*uv, *quiet, "--resolution", "lowest-direct", "--editable", ".[test]"])


def need_ensurepip():  # type: () -> None
    """See that environments can be made; Debian and Ubuntu keep that in a package of its own."""
    if has_ensurepip():
        return
    package = "python3-venv"
    version = "python{}.{}".format(*sys.version_info[:2])
    if os.path.basename(os.path.realpath("/usr/bin/python3")) != version:
        package = version + "-venv"  # not the system's default Python
    commands = [["apt-get", "update"], ["apt-get", "install", "-y", package]]
    line = " && ".join(" ".join(command) for command in commands)
    if shutil.which("apt-get") is None:
        sys.exit(
            "{} has no ensurepip, which makes virtual environments. Install it, or name another "
            "Python: make ... PYTHON=/path/to/python3".format(sys.executable)
        )
    if os.geteuid() != 0:
        sys.exit(
            "Python's venv is not complete here. Run this line as administrator, then try again:\n"
            "    " + line
        )
    print("Python's venv is not complete here: " + line, flush=True)
    for command in commands:
        run(command, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
    if not has_ensurepip():
        sys.exit(
            "{} still has no ensurepip after '{}'. Name another Python: "
            "make ... PYTHON=/path/to/python3".format(sys.executable, line)
        )


def has_ensurepip():  # type: () -> bool
    """Ask in a new process, since this one does not see what was installed after it started."""
    command = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.call(command, stderr=subprocess.DEVNULL) == 0


def run(command, env=None):  # type: (list, dict | None) -> None
    """Run a command; where it fails, so does the set-up, with one sentence."""
    status = subprocess.call(command, env=env)
    if status != 0:
        sys.exit(
            "The set-up did not finish: '{}' ended with {}. What it said stands above; "
            "the same make command starts again.".format(" ".join(command), status)
        )


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in FOLDERS:
        sys.exit("usage: setup_venv.py " + "|".join(sorted(FOLDERS)))
    main(sys.argv[1])
