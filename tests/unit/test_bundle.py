"""What goes into a bundle, and what is refused: with false wheels and programs, and no network."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stacks import environment
from stacks.bootstrap.command import bundle_for
from stacks.bundle import BundleError, make, programs, wheels
from stacks.bundle.archive import MANIFEST, Part, read, write
from stacks.bundle.command import target_of
from stacks.bundle.make import Wanted, commit_of
from stacks.bundle.programs import Plugin, find_cli, find_plugins, plugins_needed
from stacks.bundle.target import Target
from stacks.bundle.wheels import collect, lock_of, locked
from stacks.settings import Settings, parse, read_file
from tools import unbundle
from tools.install import SetupError

X86, ARM = Target(machine="x86_64"), Target(machine="aarch64")
ELF = {"x86_64": 62, "aarch64": 183}
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")


def elf(machine: str = "x86_64", *, glibc: int = 34) -> bytes:
    """The beginning of a program."""
    head = bytearray(b"\x7fELF" + bytes(60))
    head[18:20] = ELF[machine].to_bytes(2, "little")
    return bytes(head) + f"\0GLIBC_2.{glibc}\0GLIBC_2.4\0".encode()


def program(file: Path, content: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(0o755)
    return file


def wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any") -> Path:
    """A wheel with nothing to install in it but a program."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as opened:
        # with a date of its own, and so with the same hash each time
        inner = zipfile.ZipInfo(f"{name}-{version}.data/scripts/{name}")
        opened.writestr(inner, f"the program {name}")
    return file


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


# --- for which machine ----------------------------------------------------------------------------


def test_a_program_of_another_processor_or_a_newer_c_library_is_refused(tmp_path: Path) -> None:
    X86.require(program(tmp_path / "good", elf()))
    X86.require(program(tmp_path / "script", "#!/bin/sh\n"))
    for content, words in (
        (elf("aarch64"), "not a program for Linux on x86_64"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "not a program for Linux"),  # of a Mac
        (elf(glibc=38), r"needs the C library 2\.38"),
    ):
        with pytest.raises(BundleError, match=words):
            X86.require(program(tmp_path / "bad", content))


def test_wheels_are_asked_for_that_the_runners_c_library_can_load() -> None:
    assert "manylinux_2_34_x86_64" in X86.platforms
    assert not any("2_35" in name or "musl" in name for name in X86.platforms)
    assert all(name.endswith("_aarch64") for name in ARM.platforms)


def test_the_bundle_is_for_the_runner_of_the_environment() -> None:
    assert target_of(read_file("prod")) == X86
    with pytest.raises(BundleError, match="dev has no runner"):
        target_of(read_file("dev"))


# --- packages -------------------------------------------------------------------------------------


def test_the_lock_is_read_for_the_runner_and_not_for_this_machine() -> None:
    lock = (
        "one==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "arm==2 ; platform_machine == 'aarch64' \\\n    --hash=sha256:cc\n"
        "win==3 ; sys_platform == 'win32' \\\n    --hash=sha256:dd\n"
    )

    assert [one.name for one in locked(lock, X86)] == ["one"]
    assert [one.name for one in locked(lock, ARM)] == ["one", "arm"]
    assert locked(lock, X86)[0].sha256 == {"aa", "bb"}
    for loose in ("one>=1 --hash=sha256:aa\n", "one==1\n"):
        with pytest.raises(BundleError, match="does not pin one"):
            locked(loose, X86)


def test_every_line_of_the_projects_lock_is_read() -> None:
    lock = (environment.ROOT / "requirements.lock").read_text()
    known = {one.name for target in (X86, ARM) for one in locked(lock, target)}

    assert {"pulumi", "pulumi-aws", "pulumi-kubernetes", "uvloop", "xgboost-cpu"} <= known
    assert not {"pywin32", "xgboost"} & known


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What pip is asked for; it answers with a wheel of each, but for those with `source` in it."""
    asked: list[tuple[str, list[str]]] = []

    def answer(command: str, *arguments: str, lines: Any = ()) -> str | None:
        names = [line.split("==")[0] for line in lines]
        asked.append((command, names))
        told = dict(itertools.pairwise(arguments))
        if command == "wheel":
            source = Path(arguments[-1]).name.partition("-")[0]
            wheel(Path(told["--wheel-dir"]), source, tag=source.partition("_")[2] or "py3-none-any")
        elif "--no-binary" in arguments:
            folder = Path(told["--dest"])
            folder.mkdir(parents=True)
            (folder / f"{names[0]}-1.0.tar.gz").touch()
        elif any("source" in name for name in names):
            return "no matching distribution"
        else:
            for name in names:
                wheel(Path(told["--dest"]), name)
        return None

    monkeypatch.setattr(wheels, "_pip", answer)
    return asked


def package(name: str, sha256: str) -> wheels.Locked:
    return wheels.Locked(name=name, version="1.0", sha256=frozenset([sha256]))


def test_what_was_fetched_is_kept_and_only_the_rest_is_asked_for(
    tmp_path: Path, pip: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "AT_ONCE", 2)
    wanted = [package(name, digest(wheel(tmp_path / "there", name))) for name in "abcde"]
    said: list[str] = []

    assert collect(wanted, X86, tmp_path / "here", said.append).keys() == set("abcde")
    assert [names for _, names in pip] == [["a", "b"], ["c", "d"], ["e"]]
    assert said[-1].strip() == "packages: 5 of 5"
    pip.clear()
    # one was changed, one is gone
    (tmp_path / "here" / "b-1.0-py3-none-any.whl").write_bytes(b"changed")
    (tmp_path / "here" / "d-1.0-py3-none-any.whl").unlink()
    assert collect(wanted, X86, tmp_path / "here", said.append).keys() == set("abcde")
    assert pip == [("download", ["b", "d"])]


def test_a_package_without_a_wheel_is_built_once_from_its_source(
    tmp_path: Path, pip: list[tuple[str, list[str]]]
) -> None:
    wanted = [package("source", "aa"), package("a", digest(wheel(tmp_path / "there", "a")))]
    found = collect(wanted, X86, tmp_path / "here", lambda _: None)

    assert found["source"].name == "source-1.0-py3-none-any.whl"
    assert [command for command, _ in pip].count("wheel") == 1
    pip.clear()
    assert collect(wanted, X86, tmp_path / "here", lambda _: None) == found
    assert pip == []
    # another hash is another source
    collect([package("source", "bb")], X86, tmp_path / "here", lambda _: None)
    assert pip[-1][0] == "wheel"


@pytest.mark.usefixtures("pip")
def test_what_is_built_for_this_machine_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="for this machine alone"):
        collect([package("source_cp312", "aa")], X86, tmp_path, lambda _: None)


@pytest.mark.usefixtures("pip")
def test_a_wheel_with_another_hash_than_the_locks_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no wheel arrived of a"):
        collect([package("a", "0" * 64)], X86, tmp_path, lambda _: None)


def test_the_bundles_own_lock_names_every_file_by_its_hash(tmp_path: Path) -> None:
    files = [wheel(tmp_path, "b"), wheel(tmp_path, "a_c")]

    assert lock_of(files) == (
        f"a-c==1.0 --hash=sha256:{digest(files[1])}\nb==1.0 --hash=sha256:{digest(files[0])}\n"
    )


# --- programs -------------------------------------------------------------------------------------

PLUGINS = (Plugin(name="aws", version="7.1.0"), Plugin(name="kubernetes", version="4.1.0"))


def test_the_plugins_are_those_that_the_installed_packages_ask_for() -> None:
    import importlib.metadata

    assert {one.name: one.version for one in plugins_needed()} == {
        name: importlib.metadata.version(f"pulumi-{name}") for name in ("aws", "kubernetes")
    }


def test_all_missing_plugins_are_named_with_the_way_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    monkeypatch.setattr(programs.platform, "machine", lambda: "x86_64")
    with pytest.raises(BundleError) as caught:
        find_plugins(PLUGINS, X86, None, tmp_path / "scratch")
    for words in (
        "pulumi plugin install resource aws 7.1.0",
        "pulumi plugin install resource kubernetes 4.1.0",
        "--plugins",
        "--without-plugins",
    ):
        assert words in str(caught.value)
    # those of another processor cannot be installed here
    with pytest.raises(BundleError, match=r"pulumi-resource-aws-v7\.1\.0-linux-arm64\.tar\.gz"):
        find_plugins(PLUGINS, ARM, None, tmp_path / "scratch")


def test_plugins_come_from_pulumis_cache_or_from_the_folder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    cached = tmp_path / "home" / "plugins" / "resource-aws-v7.1.0"
    program(cached / "pulumi-resource-aws", elf())
    given = tmp_path / "given"
    given.mkdir()
    inner = program(tmp_path / "pulumi-resource-kubernetes", elf())
    with tarfile.open(
        given / "pulumi-resource-kubernetes-v4.1.0-linux-amd64.tar.gz", "w:gz"
    ) as tar:
        tar.add(inner, inner.name)
    found = find_plugins(PLUGINS, X86, given, tmp_path / "scratch")

    assert found[PLUGINS[0]] == cached
    assert [path for path, _ in programs.plugin_files(PLUGINS[1], found[PLUGINS[1]])] == [
        "resource-kubernetes-v4.1.0/pulumi-resource-kubernetes"
    ]
    program(cached / "pulumi-resource-aws", elf("aarch64"))
    with pytest.raises(BundleError, match="not a program for Linux on x86_64"):
        find_plugins(PLUGINS[:1], X86, given, tmp_path / "scratch")


def test_the_cli_must_be_whole_and_for_the_runner(tmp_path: Path) -> None:
    program(tmp_path / "pulumi", elf())
    with pytest.raises(BundleError, match="lacks pulumi-language-python"):
        find_cli(X86, tmp_path, environment.ROOT)
    program(tmp_path / "pulumi-language-python", "#!/bin/sh\n")
    assert set(find_cli(X86, tmp_path, environment.ROOT)) == {"pulumi", "pulumi-language-python"}
    with pytest.raises(BundleError, match="name the folder with --pulumi"):
        find_cli(ARM, tmp_path, environment.ROOT)


# --- the whole ------------------------------------------------------------------------------------


@pytest.fixture
def clone(
    tmp_path: Path, pip: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A repository with one commit, with what a bundle of it needs."""
    root = tmp_path / "clone"
    there = tmp_path / "there"
    for lock, name in zip(make.LOCKS, ("one", "pip", "uv"), strict=True):
        (root / lock).parent.mkdir(parents=True, exist_ok=True)
        (root / lock).write_text(f"{name}==1.0 --hash=sha256:{digest(wheel(there, name))}\n")
    tool = root / "tools" / "pulumi" / "tool.ini"
    tool.parent.mkdir(parents=True)
    tool.write_text((environment.ROOT / "tools/pulumi/tool.ini").read_text())
    (tool.parent / "launchers").mkdir()
    (tool.parent / "launchers" / "kept").touch()
    program(root / "run", "#!/bin/sh\n")
    (root / "link").symlink_to("run")
    (root / ".gitignore").write_text(".state/\n.tools/\n/dist/\n")
    program(root / ".tools/pulumi/bin/pulumi", elf())
    program(root / ".tools/pulumi/bin/pulumi-language-python", "#!/bin/sh\n")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    for plugin in plugins_needed():
        folder = tmp_path / "home" / "plugins" / plugin.folder
        program(folder / f"pulumi-resource-{plugin.name}", elf())
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "One")):
        subprocess.run([*GIT, *command], cwd=root, check=True)
    return root


def made(root: Path, **asked: Any) -> make.Made:
    return make.make(Wanted(target=X86, root=root, **asked), lambda _: None)


def test_a_bundle_is_the_tracked_files_the_packages_and_the_programs(clone: Path) -> None:
    bundle = made(clone)
    with tarfile.open(bundle.file) as tar:
        held = {member.name: member for member in tar}
    aws = next(one for one in plugins_needed() if one.name == "aws")

    assert bundle.file == clone / "dist" / f"falaj-{bundle.commit[:12]}-x86_64.tar.gz"
    assert bundle.sha256 == digest(bundle.file)
    assert {
        *(*make.LOCKS, "run", "link", MANIFEST, ".bundle/wheels.lock"),
        *(f".bundle/wheels/{name}-1.0-py3-none-any.whl" for name in ("one", "pip")),
        *(".tools/bin/uv", ".tools/pulumi/bin/pulumi"),
        f".tools/pulumi/home/plugins/{aws.folder}/pulumi-resource-aws",
    } <= held.keys()
    assert held["link"].linkname == "run"
    for name in ("run", ".tools/bin/uv", ".tools/pulumi/bin/pulumi"):
        assert held[name].mode == 0o755, name
    assert held["tools/uv/requirements.txt"].mode == 0o644
    told = read(bundle.file)
    assert (told["commit"], told["machine"], told["uncommitted"]) == (
        bundle.commit,
        "x86_64",
        False,
    )
    assert told["files"].keys() == {
        name for name, member in held.items() if member.isfile() and name != MANIFEST
    }


def test_the_same_commit_gives_the_same_bundle(clone: Path, tmp_path: Path) -> None:
    first = made(clone, to=tmp_path / "first.tar.gz")
    for file in clone.rglob("*"):
        if file.is_file() and ".git" not in file.parts:
            os.utime(file, (1, 1))
            file.chmod(file.stat().st_mode & ~stat.S_IRWXG & ~stat.S_IRWXO)
    second = made(clone, to=tmp_path / "second.tar.gz")

    assert first.sha256 == second.sha256


def test_changed_files_are_refused_unless_asked_for_and_then_said(clone: Path) -> None:
    program(clone / "run", "#!/bin/sh\nexit 1\n")
    (clone / "stray").touch()
    with pytest.raises(BundleError, match="commit first") as caught:
        made(clone)
    assert "M run" in str(caught.value)
    assert "?? stray" in str(caught.value)
    bundle = made(clone, allow_dirty=True)
    with tarfile.open(bundle.file) as tar:
        changed = tar.extractfile("run")
        assert changed is not None
        assert changed.read() == b"#!/bin/sh\nexit 1\n"
        assert "stray" not in tar.getnames()
    assert read(bundle.file)["uncommitted"] is True
    assert "-changed-" in bundle.file.name
    assert commit_of(clone, allow_dirty=True).dirty
    assert (clone / "stray").exists(), "nothing of the clone was put away"


def test_a_bundle_that_is_cut_short_leaves_no_file(clone: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    file = clone / "dist" / "one.tar.gz"
    with pytest.raises(KeyboardInterrupt):
        write([Part(path="a", content=b"a")], file, seconds=0, progress=stop)
    assert list(file.parent.iterdir()) == []


def test_outside_a_repository_it_says_what_git_says(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="git status"):
        commit_of(tmp_path, allow_dirty=False)


# --- on the runner --------------------------------------------------------------------------------


def test_an_unpacked_bundle_is_checked_file_by_file(clone: Path, tmp_path: Path) -> None:
    there = tmp_path / "there it is"
    with tarfile.open(made(clone).file) as tar:
        tar.extractall(there, filter="tar")
    unbundle.check(there)
    (there / "run").write_text("changed")
    (there / ".bundle" / "wheels.lock").unlink()
    with pytest.raises(SetupError, match=r"missing: \.bundle/wheels\.lock, run"):
        unbundle.check(there)
    with pytest.raises(SetupError, match="not an unpacked bundle"):
        unbundle.check(clone)


def test_the_runner_asks_no_registry_and_downloads_no_python(tmp_path: Path) -> None:
    told = unbundle.offline(tmp_path)

    assert told["UV_FIND_LINKS"] == str(tmp_path / ".bundle" / "wheels")
    assert {told[name] for name in ("UV_NO_INDEX", "UV_OFFLINE", "UV_NO_CONFIG")} == {"true"}
    assert told["UV_PYTHON_DOWNLOADS"] == "never"


def test_a_runner_keeps_its_state_where_it_is_told_and_takes_the_plugins_of_the_bundle(
    tmp_path: Path,
) -> None:
    told = {"FALAJ_BACKEND_URL": "s3://b?region=r", "PULUMI_BACKEND_URL": "file:///x", "PATH": ""}
    (tmp_path / ".tools" / "pulumi" / "home").mkdir(parents=True)
    variables = environment.variables(tmp_path, base=told)

    assert variables["PULUMI_BACKEND_URL"] == "s3://b?region=r"
    assert variables["PULUMI_HOME"] == str(tmp_path / ".tools" / "pulumi" / "home")
    assert variables["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"


# --- which one the runner is given ----------------------------------------------------------------


def prod(**runner: str) -> Settings:
    section = {
        "account_id": "123456789012",
        "existing_cluster": {"name": "falaj-prod"},
        "node_pools": {"system": {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 2}},
        "network": {},
        "runner": {"proxy": "http://proxy.bank.ae:3128", **runner},
    }
    return parse("prod", {"falaj:place": "aws", "falaj:aws": json.dumps(section)})


def test_the_bootstrap_gives_the_runner_a_bundle_of_this_commit_for_its_processor(
    tmp_path: Path,
) -> None:
    asked: list[Wanted] = []

    def pretend(wanted: Wanted) -> Path:
        asked.append(wanted)
        return tmp_path / "made.tar.gz"

    assert bundle_for(prod(instance_type="m7g.large"), "", pretend) == tmp_path / "made.tar.gz"
    assert [one.target for one in asked] == [ARM]
    assert not asked[0].allow_dirty
    assert bundle_for(read_file("dev"), "", pretend) is None
    assert bundle_for(prod(), "none", pretend) is None


def test_a_bundle_named_must_be_one_and_for_the_runners_processor(
    clone: Path, tmp_path: Path
) -> None:
    bundle = made(clone)

    assert bundle_for(prod(), str(bundle.file)) == bundle.file
    with pytest.raises(BundleError, match=r"is for x86_64, and the runner, a m7g\.large, is"):
        bundle_for(prod(instance_type="m7g.large"), str(bundle.file))
    bare = made(clone, without_plugins=True, to=tmp_path / "bare.tar.gz")
    with pytest.raises(BundleError, match="nothing can be deployed with it"):
        bundle_for(prod(), str(bare.file))
    (tmp_path / "text").write_text("nothing")
    for other in ("text", "missing"):
        with pytest.raises(BundleError, match="cannot be read as a bundle"):
            bundle_for(prod(), str(tmp_path / other))


def test_no_command_of_falaj_loads_what_makes_bundles() -> None:
    """Every command starts with all of them mounted."""
    loaded = "import sys, stacks.bundle.command; print('packaging' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"
