"""The set-up as a whole: one at a time, skipped when done, made again when cut short."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import board, install, setup, stack_files, venv
from tools.install import Installer, Machine, SetupError, Tool, Way

SCRIPT = """#!/bin/sh
echo "$(basename "$0") $*" >> {noted}
{body}
"""
FAKE_UV = """
case "$1" in
  --version) echo "uv 0.9.9";;
  venv)
    [ -e {fail}.venv ] && {{ mkdir -p .venv/bin; echo "$PWD/.venv" > .venv/bin/activate; exit 8; }}
    shift $(($# - 1)); mkdir -p "$1/bin"; echo "VIRTUAL_ENV=$1" > "$1/bin/activate"
    ln -sf {python} "$1/bin/python";;
  pip) [ "$2" = sync ] && [ -e {fail} ] && exit 9;;
esac
exit 0
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with what the set-up reads, and `noted`, where its fake tools say what they did."""
    root = tmp_path / "my clone"
    (root / "bin").mkdir(parents=True)
    (root / "requirements.lock").write_text("one==1 --hash=sha256:0\n")
    (root / "pyproject.toml").write_text("")
    (root / "workloads" / "config").mkdir(parents=True)
    template = root / stack_files.TEMPLATE
    template.parent.mkdir(parents=True)
    template.write_text("# nothing\n")
    return root


def script(root: Path, name: str, body: str) -> None:
    """An executable that notes its arguments and then runs `body`."""
    path = root / "bin" / name
    path.write_text(SCRIPT.format(noted=f'"{root}/noted"', body=body))
    path.chmod(0o755)


def python_3_12() -> str:
    """An interpreter outside any environment."""
    return str(Path(sys.executable).resolve())


@pytest.fixture
def python_environment(clone: Path) -> Callable[[], venv.Venv]:
    """Makes the clone's `Venv`, with a uv that only pretends."""
    script(clone, "uv", FAKE_UV.format(python=python_3_12(), fail=f"'{clone}/fail'"))

    def make() -> venv.Venv:
        machine = Machine(clone, (str(clone / "bin"),), None, "", False, False)
        return venv.Venv(Installer(machine))

    return make


def noted(clone: Path) -> list[str]:
    """What the fake tools were called with, since the last time."""
    path = clone / "noted"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_the_environment_is_made_from_the_lock_with_hashes_and_bytecode(
    clone: Path, python_environment: Callable[[], venv.Venv]
) -> None:
    python_environment().make(lambda _: None)
    calls = noted(clone)
    (made,) = (call for call in calls if call.startswith("uv venv"))
    assert "--seed" in made
    (synced,) = (call for call in calls if call.startswith("uv pip sync"))
    assert {"--compile-bytecode", "--require-hashes"} <= set(synced.split())
    (own,) = (call for call in calls if call.startswith("uv pip install"))
    assert {"--no-deps", "--no-build-isolation", "--editable"} <= set(own.split())
    assert python_environment().is_fresh()


def test_a_changed_lock_is_installed_into_the_same_environment(
    clone: Path, python_environment: Callable[[], venv.Venv]
) -> None:
    python_environment().make(lambda _: None)
    noted(clone)
    (clone / "requirements.lock").write_text("one==2 --hash=sha256:0\n")
    assert not python_environment().is_fresh()
    python_environment().make(lambda _: None)
    assert not any(call.startswith("uv venv") for call in noted(clone))


def test_an_installation_that_was_cut_short_starts_from_an_empty_environment(
    clone: Path, python_environment: Callable[[], venv.Venv]
) -> None:
    (clone / "fail").touch()
    with pytest.raises(SetupError, match=r"sync .* ended with 9"):
        python_environment().make(lambda _: None)
    assert not python_environment().is_fresh()
    (clone / "fail").unlink()
    noted(clone)
    python_environment().make(lambda _: None)
    assert any("venv --seed --clear" in call for call in noted(clone))
    assert python_environment().is_fresh()


def test_an_environment_without_its_pip_is_made_anew(
    clone: Path, python_environment: Callable[[], venv.Venv]
) -> None:
    half = clone / "fail.venv"
    half.touch()
    with pytest.raises(SetupError, match=r"venv .* ended with 8"):
        python_environment().make(lambda _: None)
    half.unlink()
    (clone / ".venv" / "bin" / "python").symlink_to(python_3_12())
    noted(clone)
    python_environment().make(lambda _: None)
    assert any("venv --seed --clear" in call for call in noted(clone))


def test_an_environment_of_a_clone_that_was_moved_is_made_anew(
    clone: Path, python_environment: Callable[[], venv.Venv]
) -> None:
    python_environment().make(lambda _: None)
    noted(clone)
    (clone / ".venv" / "bin" / "activate").write_text("VIRTUAL_ENV=/somewhere/else/.venv\n")
    assert not python_environment().is_fresh()
    python_environment().make(lambda _: None)
    assert any("--clear" in call for call in noted(clone))


def test_python_3_12_is_found_in_pyenv_although_it_is_not_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pyenv" / "versions" / "3.12.1" / "bin"
    folder.mkdir(parents=True)
    (folder / "python3.12").symlink_to(python_3_12())
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(venv.sys, "executable", "/nowhere/python3.11")
    found = venv.find_python((str(tmp_path),))
    assert found == str(folder / "python3.12")


def test_a_shim_that_does_not_run_python_3_12_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(venv.sys, "executable", "/nowhere/python3.11")
    assert venv.find_python((str(tmp_path),)) is None


def test_without_any_python_3_12_one_line_says_how_to_get_it(
    clone: Path,
    python_environment: Callable[[], venv.Venv],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script(clone, "uv", '[ "$1" = --version ] && echo "uv 0.9.9" && exit; exit 1')
    monkeypatch.setattr(venv, "find_python", lambda _: None)
    with pytest.raises(SetupError) as problem:
        python_environment().make(lambda _: None)
    assert str(problem.value).startswith("missing: Python 3.12")
    assert "\n" not in str(problem.value)


def test_an_old_uv_on_path_is_not_used(
    clone: Path, python_environment: Callable[[], venv.Venv]
) -> None:
    pinned = clone / "tools" / "uv" / "requirements.txt"
    pinned.parent.mkdir(parents=True)
    pinned.write_text("uv==0.13.8 \\\n    --hash=sha256:0\n")
    own = clone / ".tools" / "bin"
    own.mkdir(parents=True)
    (clone / "bin" / "uv").rename(own / "uv")
    text = (own / "uv").read_text().replace("uv 0.9.9", "uv 0.13.8")
    (own / "uv").write_text(text)
    script(clone, "uv", 'echo "uv 0.4.1"')
    python_environment().make(lambda _: None)
    assert noted(clone).count("uv --version") >= 1
    assert python_environment().is_fresh()


@pytest.fixture
def one_tool(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A repository whose only tool is a gateway that nobody has installed."""
    tool = Tool(
        name="gateway",
        folder=clone,
        executables=("gateway",),
        version="-v",
        minimum=(2, 6),
        packages={"apt": "gateway-pkg"},
    )
    machine = Machine(clone, (str(clone / "bin"),), None, "apt", False, False)
    monkeypatch.setattr(setup, "tools", lambda _: {"gateway": tool})
    monkeypatch.setattr(Machine, "here", classmethod(lambda _cls, _root: machine))
    return tool


def test_what_is_missing_is_said_before_anything_is_made(
    clone: Path,
    one_tool: Tool,
    python_environment: Callable[[], venv.Venv],
) -> None:
    with pytest.raises(SetupError, match=r"^missing: gateway >= 2\.6 \(sudo apt-get install"):
        setup.set_up(clone, frozenset({"run"}))
    assert not (clone / ".venv").exists()


def test_a_tool_for_tests_is_not_asked_for_by_a_plain_set_up(
    clone: Path,
    one_tool: Tool,
    python_environment: Callable[[], venv.Venv],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only_tests = Tool(**{**vars(one_tool), "purpose": "test"})
    monkeypatch.setattr(setup, "tools", lambda _: {"gateway": only_tests})
    setup.set_up(clone, frozenset({"run"}))
    assert python_environment().is_fresh()
    with pytest.raises(SetupError, match="missing: gateway"):
        setup.set_up(clone, frozenset({"run", "test"}))


@pytest.mark.parametrize(
    ("arguments", "purposes"),
    [
        ([], {"run"}),
        (["--with-tests"], {"run", "test"}),
        (["--with-scale"], {"run", "test", "scale"}),
    ],
)
def test_the_command_line_says_what_for(arguments: list[str], purposes: set[str]) -> None:
    assert setup.purposes(arguments) == purposes
    assert purposes <= {tool.purpose for tool in install.tools().values()}


def test_a_second_set_up_does_nothing(
    clone: Path,
    one_tool: Tool,
    python_environment: Callable[[], venv.Venv],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script(clone, "gateway", "echo gateway 2.8")
    setup.set_up(clone, frozenset({"run"}))
    noted(clone)
    capsys.readouterr()
    setup.set_up(clone, frozenset({"run"}))
    assert noted(clone) == ["gateway -v"]
    assert capsys.readouterr().out.startswith("Set up in ")


def test_a_new_set_up_removes_what_a_killed_one_left_half_made(
    clone: Path, one_tool: Tool, python_environment: Callable[[], venv.Venv]
) -> None:
    script(clone, "gateway", "echo gateway 2.8")
    half = clone / ".tools" / "tmp" / "x" / "pulumi"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    setup.set_up(clone, frozenset({"run"}))
    assert not half.exists()


def test_a_failing_step_ends_the_set_up_and_the_others(
    clone: Path,
    one_tool: Tool,
    python_environment: Callable[[], venv.Venv],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script(clone, "gateway", "echo gateway 2.8")
    (clone / "fail").touch()
    monkeypatch.setattr(setup, "ROOT", clone)
    assert setup.main([]) == 1
    assert "ended with 9" in capsys.readouterr().err


def test_two_set_ups_of_a_clone_wait_for_each_other(clone: Path) -> None:
    own = clone / ".tools"
    own.mkdir()
    program = (
        "from pathlib import Path\nfrom tools import setup\n"
        f"with setup.only_one(Path({str(clone)!r})):\n    print('ours')\n"
    )
    with (own / "lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        child = subprocess.Popen(
            [sys.executable, "-uc", program],
            cwd=install.ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline().startswith("another set-up of this clone is running")
    assert child.communicate(timeout=60)[0] == "ours\n"


def test_the_set_up_runs_on_an_old_python_without_any_package() -> None:
    """The first stage runs before there is an environment: nothing but the standard library."""
    program = "import sys, tools.setup; print([m for m in sys.modules if m in ('rich', 'psutil')])"
    done = subprocess.run(
        [python_3_12(), "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {program}"],
        cwd=install.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_the_board_prints_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = board.Board()
    shown.running("pulumi", "building")
    shown.go_live(Path(sys.executable), install.ROOT)
    shown.done("pulumi", ".tools/pulumi/bin")
    shown.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["pulumi", "building", "…"]
    assert second.split() == ["pulumi", ".tools/pulumi/bin", "(0", "s)"]


def test_the_table_shows_every_step_that_arrives() -> None:
    steps = (
        '{"name": "pulumi", "state": "running", "text": "building", "since": 1.0, "until": null}\n'
        '{"name": "python", "state": "done", "text": ".venv", "since": 1.0, "until": 31.0}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "tools.board"],
        cwd=install.ROOT,
        input=steps,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "building" in done.stdout
    assert "30 s" in done.stdout


def test_the_ci_command_asks_nobody_and_runs_the_tests() -> None:
    path = install.ROOT / ".ci" / "run"
    assert path.stat().st_mode & stat.S_IXUSR
    done = subprocess.run(
        ["bash", str(path)],
        env={**os.environ, "MAKEFLAGS": "-n", "TEST_PROCESSES": "auto"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("python -m pytest -n auto")
    assert "tools.setup --with-tests" in done.stdout


@pytest.mark.parametrize("verb", ["setup", "up", "down", "clean", "shell", "check", "bench"])
def test_every_verb_of_the_makefile_is_there(verb: str) -> None:
    done = subprocess.run(
        ["make", "-n", verb], cwd=install.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_tool_that_is_there_costs_no_line(clone: Path) -> None:
    machine = Machine(clone, (), None, "", False, False)
    tool = Tool("gateway", clone, ("gateway",), "-v", (2, 6))
    assert (
        Installer(machine).install(tool, Way("found", "2.8 at /usr/sbin/gateway")).startswith("2.8")
    )
