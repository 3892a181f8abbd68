"""How a tool gets onto a machine: what counts, which way is taken, what is said when none works."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from tools import install
from tools.install import Installer, Machine, SetupError, Tool, Way

LAUNCHER = "#!/bin/sh\nexit 0\n"


def executable(folder: Path, name: str, prints: str) -> Path:
    """A command that prints `prints`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' '{prints}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with nothing but an empty folder on PATH."""
    (tmp_path / "bin").mkdir()
    return Machine(
        root=tmp_path / "clone",
        path=(str(tmp_path / "bin"),),
        go=None,
        manager="apt",
        may_install=False,
        systemd=False,
    )


def with_more(machine: Machine, **more: object) -> Machine:
    """`machine` with some of its fields changed."""
    return Machine(**{**vars(machine), **more})  # type: ignore[arg-type]


def gateway(tmp_path: Path, **more: object) -> Tool:
    """A tool that comes as a package."""
    fields: dict[str, object] = {
        "name": "gateway",
        "folder": tmp_path,
        "executables": ("gateway",),
        "version": "-v",
        "minimum": (2, 6),
        "packages": {"apt": "gateway-pkg", "brew": "gateway", "service": "gateway.service"},
    }
    return Tool(**{**fields, **more})  # type: ignore[arg-type]


def store(tmp_path: Path, **more: object) -> Tool:
    """A tool that is built from its Go module, with a launcher beside it."""
    folder = tmp_path / "tools" / "store"
    (folder / "launchers").mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text("module example/store\n\ngo 1.25.11\n")
    launcher = folder / "launchers" / "store-helper"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    fields: dict[str, object] = {
        "name": "store",
        "folder": folder,
        "executables": ("store",),
        "companions": ("store-helper",),
        "version": "--version",
        "minimum": (1, 8),
        "below": (2,),
        "target": "bin",
        "go": {"package": "example/store", "beside": "launchers"},
    }
    return Tool(**{**fields, **more})  # type: ignore[arg-type]


def fake_go(folder: Path, body: str) -> None:
    """A `go` that runs `body`, with the path it should write to in $target."""
    path = folder / "go"
    find = 'while [ "$1" != "-o" ]; do shift; done; target=$2\n'
    path.write_text(f"#!/bin/sh\n{find}{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v3.259.0", (3, 259, 0)),
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17", (2, 6, 12)),
        ("prometheus, version 2.42.0+ds (branch: debian/sid)", (2, 42, 0)),
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("uv 0.13.8 (x86_64-unknown-linux-gnu)", (0, 13, 8)),
        ("Chromium 156.0.8078.79 built on Debian", (156, 0, 8078, 79)),
        ("Version  : git", None),
        ("", None),
    ],
)
def test_a_version_is_read_from_what_a_tool_says(
    text: str, version: tuple[int, ...] | None
) -> None:
    assert install.parse_version(text) == version


def test_every_tool_of_the_repository_can_be_had_in_some_way() -> None:
    tools = install.tools()
    assert {"pulumi", "versitygw", "haproxy", "prometheus"} <= set(tools)
    for tool in tools.values():
        assert tool.minimum
        assert tool.go or (tool.packages["apt"] and tool.packages["brew"]), tool.name
        assert not tool.go or (tool.target and (tool.folder / "go.sum").exists()), tool.name


def test_a_recent_tool_on_path_is_used(tmp_path: Path, machine: Machine) -> None:
    executable(tmp_path / "bin", "gateway", "gateway 2.8.1")
    way = install.choose(gateway(tmp_path), machine)
    assert way == Way("found", f"2.8.1 at {tmp_path / 'bin' / 'gateway'}")


def test_a_tool_on_path_that_is_too_old_is_passed_over(tmp_path: Path, machine: Machine) -> None:
    executable(tmp_path / "bin", "gateway", "gateway 2.4.22")
    assert install.choose(gateway(tmp_path), machine).kind == "missing"
    as_root = with_more(machine, may_install=True)
    assert install.choose(gateway(tmp_path), as_root) == Way("packages", "gateway-pkg")


def test_a_tool_that_is_too_new_is_passed_over(tmp_path: Path, machine: Machine) -> None:
    executable(tmp_path / "bin", "store", "store 2.0.0")
    executable(tmp_path / "bin", "store-helper", "")
    assert install.choose(store(tmp_path), with_more(machine, go=(1, 26))).kind == "go"


def test_a_tool_without_its_companion_is_passed_over(tmp_path: Path, machine: Machine) -> None:
    executable(tmp_path / "bin", "store", "store 1.9.0")
    machine = with_more(machine, go=(1, 26))
    assert install.choose(store(tmp_path), machine).kind == "go"
    executable(tmp_path / "bin", "store-helper", "")
    assert install.choose(store(tmp_path), machine).kind == "found"


def test_a_command_that_does_not_run_is_passed_over(tmp_path: Path, machine: Machine) -> None:
    stub = executable(tmp_path / "bin", "gateway", "please install 9.9.9 the snap")
    stub.write_text("#!/bin/sh\necho please install 9.9.9\nexit 1\n")
    assert install.choose(gateway(tmp_path), machine).kind == "missing"


def test_a_go_that_is_too_old_builds_nothing(tmp_path: Path, machine: Machine) -> None:
    assert install.choose(store(tmp_path), with_more(machine, go=(1, 22))).kind == "missing"
    assert install.choose(store(tmp_path), with_more(machine, go=(1, 25, 11))).kind == "go"


def test_the_clones_own_folders_do_not_count_as_installed(tmp_path: Path) -> None:
    folders = [str(tmp_path / ".tools" / "bin"), "/usr/bin", "", str(tmp_path / ".venv" / "bin")]
    kept = install.outside(folders, tmp_path)
    assert kept[0] == "/usr/bin"
    assert "/usr/sbin" in kept
    assert not any(folder.startswith(str(tmp_path)) for folder in kept)


def test_what_is_missing_is_one_line_that_names_tool_and_command(
    tmp_path: Path, machine: Machine
) -> None:
    monitor = gateway(tmp_path, name="monitor", packages={"apt": "monitor-pkg"})
    line = install.missing([gateway(tmp_path), monitor, store(tmp_path)], machine)
    assert "\n" not in line
    assert "Go >= 1.25.11 to build store (https://go.dev/dl)" in line
    assert "gateway >= 2.6, monitor >= 2.6" in line
    assert "sudo apt-get install --no-install-recommends gateway-pkg monitor-pkg)" in line


def test_the_line_stops_the_packages_own_services_where_systemd_runs(
    tmp_path: Path, machine: Machine
) -> None:
    line = install.missing([gateway(tmp_path)], with_more(machine, systemd=True))
    assert line.endswith("gateway-pkg && sudo systemctl disable --now gateway.service)")


def test_on_a_mac_the_line_names_homebrew(tmp_path: Path, machine: Machine) -> None:
    line = install.missing([gateway(tmp_path)], with_more(machine, manager="brew"))
    assert line == "missing: gateway >= 2.6 (brew install gateway)"


def test_a_build_leaves_the_tool_and_its_launchers_and_is_not_repeated(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    fake_go(tmp_path / "bin", 'echo "#!/bin/sh" > "$target"; chmod +x "$target"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tool = store(tmp_path)
    Installer(machine).install(tool, install.choose(tool, machine))
    built = tmp_path / ".tools" / "bin"
    assert {path.name for path in built.iterdir()} == {"store", "store-helper"}
    assert install.choose(tool, machine).kind == "ours"


def test_a_module_with_several_packages_leaves_an_executable_of_each(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    body = (
        'for one in "$@"; do case $one in example/*) name=${one##*/}; echo > "$target$name";'
        ' chmod +x "$target$name";; esac; done'
    )
    fake_go(tmp_path / "bin", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tool = store(
        tmp_path,
        go={"package": "example/cmd/store example/cmd/keeper"},
        companions=("keeper",),
    )
    Installer(machine).install(tool, Way("go"))
    assert {path.name for path in (tmp_path / ".tools" / "bin").iterdir()} == {"store", "keeper"}
    assert install.choose(tool, machine).kind == "ours"


@pytest.mark.parametrize("changed", ["go.mod", "launchers/store-helper"])
def test_a_changed_input_is_built_again(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    fake_go(tmp_path / "bin", 'echo > "$target"; chmod +x "$target"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tool = store(tmp_path)
    Installer(machine).install(tool, Way("go"))
    path = tool.folder / changed
    path.write_text(path.read_text() + "\n")
    assert install.choose(tool, machine).kind == "go"


def test_a_tool_that_was_deleted_is_built_again(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    fake_go(tmp_path / "bin", 'echo > "$target"; chmod +x "$target"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tool = store(tmp_path)
    Installer(machine).install(tool, Way("go"))
    (tmp_path / ".tools" / "bin" / "store-helper").unlink()
    assert install.choose(tool, machine).kind == "go"


def test_a_failed_build_says_why_and_leaves_no_half_executable(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    fake_go(tmp_path / "bin", 'echo half > "$target"; echo no space left; exit 3')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(SetupError, match=r"(?s)store: .* ended with 3:.*no space left"):
        Installer(machine).install(store(tmp_path), Way("go"))
    assert list((tmp_path / ".tools" / "bin").iterdir()) == []
    assert list((tmp_path / ".tools" / "tmp").iterdir()) == []
    assert install.choose(store(tmp_path), machine).kind == "go"


def test_a_stopped_build_leaves_no_half_executable(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    os.mkfifo(tmp_path / "begun")
    fake_go(tmp_path / "bin", f'echo half > "$target"; echo > {tmp_path}/begun; exec sleep 600')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    installer = Installer(machine)
    problems: list[str] = []

    def build() -> None:
        try:
            installer.install(store(tmp_path), Way("go"))
        except SetupError as error:
            problems.append(str(error))

    thread = threading.Thread(target=build)
    thread.start()
    (tmp_path / "begun").read_text()
    installer.stop()
    thread.join(timeout=60)
    assert problems == ["store: stopped"]
    assert list((tmp_path / ".tools" / "bin").iterdir()) == []


def test_a_killed_build_leaves_no_half_executable(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    os.mkfifo(tmp_path / "begun")
    fake_go(tmp_path / "bin", f'echo half > "$target"; echo $$ > {tmp_path}/begun; exec sleep 600')
    tool = store(tmp_path)
    program = (
        "from pathlib import Path\n"
        "from tools.install import *\n"
        f"machine = Machine(Path({str(tmp_path)!r}), (), (1, 26), '', False, False)\n"
        f"tool = Tool(name='store', folder=Path({str(tool.folder)!r}), executables=('store',),\n"
        "            version='v', minimum=(1,), target='bin', go={'package': 'example/store'})\n"
        "Installer(machine).install(tool, Way('go'))\n"
    )
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    child = subprocess.Popen([sys.executable, "-c", program], cwd=install.ROOT, env=environment)
    builder = int((tmp_path / "begun").read_text())
    child.kill()
    child.wait()
    os.kill(builder, signal.SIGKILL)
    assert list((tmp_path / ".tools" / "bin").iterdir()) == []
    assert not (tmp_path / ".tools" / "stamps").exists()


def release(tmp_path: Path, content: bytes, digest: str) -> dict[str, str]:
    """A published release of `store` with one archive and the checksum `digest` for it."""
    published = tmp_path / "published"
    published.mkdir(exist_ok=True)
    (published / "store.tar.gz").write_bytes(content)
    (published / "sums").write_text(f"{digest}  store.tar.gz\n")
    return {
        "number": "1.9.0",
        "archive": (published / "store.tar.gz").as_uri(),
        "checksums": (published / "sums").as_uri(),
        "members": "store store-helper",
    }


def archive_of(*names: str) -> bytes:
    """A tar file with an executable of each name in a folder, and one that goes elsewhere."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in (*(f"store/{name}" for name in names), "../../evil"):
            member = tarfile.TarInfo(name)
            member.size = len(LAUNCHER)
            tar.addfile(member, io.BytesIO(LAUNCHER.encode()))
    return buffer.getvalue()


def test_a_release_with_the_published_checksum_is_unpacked(
    tmp_path: Path, machine: Machine
) -> None:
    machine = with_more(machine, root=tmp_path)
    content = archive_of("store", "store-helper", "other")
    digest = hashlib.sha256(content).hexdigest()
    tool = store(tmp_path, release=release(tmp_path, content, digest))
    way = install.choose(tool, machine)
    assert way == Way("release", "1.9.0")
    Installer(machine).install(tool, way)
    built = tmp_path / ".tools" / "bin"
    assert {path.name for path in built.iterdir()} == {"store", "store-helper"}
    assert install.choose(tool, machine).kind == "ours"
    assert not list(tmp_path.rglob("evil"))


def test_a_release_with_another_checksum_is_refused(tmp_path: Path, machine: Machine) -> None:
    machine = with_more(machine, root=tmp_path)
    content = archive_of("store", "store-helper")
    tool = store(tmp_path, release=release(tmp_path, content, "0" * 64))
    with pytest.raises(SetupError, match="not the published one"):
        Installer(machine).install(tool, Way("release", "1.9.0"))
    assert list((tmp_path / ".tools" / "bin").glob("*")) == []


def test_a_release_that_does_not_arrive_is_built_instead(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    fake_go(tmp_path / "bin", 'echo > "$target"; chmod +x "$target"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tool = store(tmp_path, release=release(tmp_path, archive_of("store"), "0" * 64))
    assert Installer(machine).install(tool, Way("release", "1.9.0")) == ".tools/bin"


def test_where_the_release_cannot_be_reached_the_next_way_is_taken(
    tmp_path: Path, machine: Machine
) -> None:
    nowhere = {"number": "1.9.0", "checksums": (tmp_path / "absent").as_uri()}
    tool = store(tmp_path, release=nowhere)
    assert install.choose(tool, with_more(machine, go=(1, 26))).kind == "go"


def test_the_release_of_this_kind_of_machine_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    url = install.release_url(install.tools()["pulumi"], "archive")
    assert url.endswith("/v3.259.0/pulumi-v3.259.0-darwin-arm64.tar.gz")


def test_our_build_gives_way_to_a_tool_that_was_installed_since(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = with_more(machine, root=tmp_path, go=(1, 26))
    fake_go(tmp_path / "bin", 'echo > "$target"; chmod +x "$target"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tool = store(tmp_path)
    Installer(machine).install(tool, Way("go"))
    executable(tmp_path / "bin", "store", "store 1.9.0")
    executable(tmp_path / "bin", "store-helper", "")
    Installer(machine).install(tool, install.choose(tool, machine))
    assert list((tmp_path / ".tools" / "bin").iterdir()) == []


def fake_apt(tmp_path: Path, gives: str) -> Path:
    """An `apt-get` that notes its arguments and installs a gateway of version `gives`."""
    noted = tmp_path / "noted"
    target = tmp_path / "bin" / "gateway"
    path = tmp_path / "bin" / "apt-get"
    path.write_text(
        f'#!/bin/sh\necho "apt-get $*" >> {noted}\n'
        f"printf '#!/bin/sh\\necho {gives}\\n' > {target}; chmod +x {target}\n"
    )
    path.chmod(0o755)
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "systemctl $*" >> {noted}\n')
    systemctl.chmod(0o755)
    return noted


def test_a_package_is_installed_without_starting_its_service(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = fake_apt(tmp_path, "2.8.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    machine = with_more(machine, root=tmp_path, may_install=True, systemd=True)
    Installer(machine).install(gateway(tmp_path), Way("packages", "gateway-pkg"))
    assert noted.read_text().splitlines() == [
        "systemctl mask --runtime gateway.service",
        "apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends gateway-pkg",
        "systemctl disable gateway.service",
        "systemctl unmask --runtime gateway.service",
    ]


def test_a_package_that_is_too_old_is_refused_with_both_versions(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_apt(tmp_path, "2.4.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    machine = with_more(machine, root=tmp_path, may_install=True)
    with pytest.raises(SetupError, match=r"gateway >= 2\.6 is needed, .* brings 2\.4\.0"):
        Installer(machine).install(gateway(tmp_path), Way("packages", "gateway-pkg"))
