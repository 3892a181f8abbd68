"""The programs of a bundle: the Pulumi CLI with its language host, the providers' plugins, uv."""

from __future__ import annotations

import json
import os
import platform
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stacks.bundle import BundleError
from stacks.bundle.target import Target
from tools import install

_CLI = "pulumi"


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A provider's plugin, of the version that the installed SDK asks for."""

    name: str
    version: str

    @property
    def folder(self) -> str:
        """As Pulumi's own cache calls it."""
        return f"resource-{self.name}-v{self.version}"

    def archive(self, target: Target) -> str:
        """As its maker's release calls it."""
        return f"pulumi-resource-{self.name}-v{self.version}-linux-{target.goarch}.tar.gz"


def plugins_needed() -> list[Plugin]:
    """What the SDKs of this environment ask for, by the file that each carries."""
    site = Path(sysconfig.get_path("purelib"))
    told = [json.loads(file.read_text()) for file in site.glob("pulumi_*/pulumi-plugin.json")]
    return sorted(
        (
            Plugin(name=one["name"], version=one["version"])
            for one in told
            if one.get("resource") and "version" in one
        ),
        key=lambda plugin: plugin.name,
    )


def find_plugins(
    needed: Sequence[Plugin], target: Target, given: Path | None, scratch: Path
) -> dict[Plugin, Path]:
    """The folder of each plugin: from `given`, which may hold archives of releases, else Pulumi's
    own cache.

    Raises `BundleError` that names everything that is missing and how to get it.
    """
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    found, missing = {}, []
    for plugin in needed:
        places = [home / "plugins" / plugin.folder]
        if given is not None:
            places.insert(0, given / plugin.folder)
            archive = given / plugin.archive(target)
            if archive.is_file():
                places.insert(0, _unpacked(archive, scratch / plugin.folder))
        place = next((one for one in places if _program(plugin, one).is_file()), None)
        if place is None:
            missing.append(plugin)
        else:
            target.require(_program(plugin, place))
            found[plugin] = place
    if missing:
        ours = platform.machine() == target.machine and platform.system() == "Linux"
        how = (
            [f"  pulumi plugin install resource {one.name} {one.version}" for one in missing]
            if ours
            else [f"  {one.archive(target)}" for one in missing]
        )
        first = "type, where the network allows:" if ours else "fetch from the maker's releases:"
        raise BundleError(
            f"the bundle lacks plugins of Pulumi, without which nothing can be deployed; {first}\n"
            + "\n".join(how)
            + "\nor name the folder that holds them (or their archives) with --plugins; "
            "--without-plugins makes a bundle that plans offline and no more"
        )
    return found


def _program(plugin: Plugin, folder: Path) -> Path:
    return folder / f"pulumi-resource-{plugin.name}"


def _unpacked(archive: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder


def find_cli(target: Target, given: Path | None, root: Path) -> dict[str, Path]:
    """The files of the Pulumi CLI by name, from the folder `given` or from this clone's own.

    Raises `BundleError`.
    """
    tool = install.tools(root)[_CLI]
    known = {*tool.executables, *tool.companions, *install.beside(tool)}
    folder = given or _folder_of_cli(root)
    files = {name: folder / name for name in sorted(known) if (folder / name).is_file()}
    lacking = {_CLI, *tool.companions} - files.keys()
    if lacking:
        raise BundleError(f"{folder} lacks {', '.join(sorted(lacking))}: run `make setup`")
    try:
        for file in files.values():
            target.require(file)
    except BundleError as error:
        raise BundleError(
            f"{error}; unpack Pulumi's release for it and name the folder with --pulumi"
        ) from None
    return files


def _folder_of_cli(root: Path) -> Path:
    own = root / ".tools" / "pulumi" / "bin"
    if (own / _CLI).is_file():
        return own
    found = install.Machine.here(root).which(_CLI)
    if found is None:
        raise BundleError("there is no Pulumi CLI: run `make setup` first")
    return found.resolve().parent


def version_of_cli(files: dict[str, Path]) -> str | None:
    """What the CLI says of itself; `None` where it does not run on this machine."""
    version = install.version_of(files[_CLI], "version")
    return install.dotted(version) if version else None


def uv_of(wheel: Path) -> bytes:
    """The program in the wheel of uv. Raises `BundleError`."""
    with zipfile.ZipFile(wheel) as opened:
        for name in opened.namelist():
            if name.endswith(".data/scripts/uv"):
                return opened.read(name)
    raise BundleError(f"{wheel.name} holds no uv")


def plugin_files(plugin: Plugin, folder: Path) -> Iterator[tuple[str, Path]]:
    """Path in Pulumi's cache → file, of all that a plugin consists of."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield f"{plugin.folder}/{file.relative_to(folder)}", file
