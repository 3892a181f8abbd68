"""Enters another root, gives up all rights, and becomes a command.

In namespaces that `unshare` has made:

unshare --mount --pid --fork python3 enter.py ROOT [options] -- COMMAND…
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
from pathlib import Path

_NO_NEW_PRIVILEGES, _AMBIENT, _CLEAR_ALL = 38, 47, 4
"""Of prctl(2)."""


def mount(*arguments: str | Path) -> None:
    """Mounts; raises `CalledProcessError`."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def prepare(root: Path, asked: argparse.Namespace) -> None:
    """What the command will see."""
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/dev", root / "dev")
    for seen in (*asked.see, *asked.share):
        target, _, source = seen.partition("=")
        mount("--bind", source, root / target)
        if seen not in asked.share:
            mount("-o", "remount,bind,ro", root / target)
    if not asked.writable:
        mount("-o", "remount,bind,ro", root)
    for target in asked.scratch:
        mount("-t", "tmpfs", "-o", "mode=1777,size=1g", "tmpfs", root / target)


def give_up(user: int, group: int) -> None:
    """Becomes `user`, who can win no right back. Raises `OSError`."""
    if os.geteuid() != user:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_AMBIENT, _CLEAR_ALL, 0, 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "prctl")


def main(arguments: list[str]) -> None:
    """The command line described in the module's docstring."""
    place = arguments.index("--")
    parser = argparse.ArgumentParser(prog="enter.py")
    parser.add_argument("root", type=Path)
    parser.add_argument("--as", dest="who", default="0:0")
    parser.add_argument("--in", dest="folder", default="/")
    parser.add_argument("--see", action="append", default=[])
    parser.add_argument("--share", action="append", default=[])
    parser.add_argument("--scratch", action="append", default=[])
    parser.add_argument("--writable", action="store_true")
    asked = parser.parse_args(arguments[:place])
    words = arguments[place + 1 :]
    user, group = (int(number) for number in asked.who.split(":"))
    prepare(asked.root, asked)
    # after chroot nothing of Python can be loaded any more
    "".encode("idna")
    os.chroot(asked.root)
    os.chdir(asked.folder)
    give_up(user, group)
    os.execvpe(words[0], words, os.environ)  # noqa: S606 no shell is what is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
