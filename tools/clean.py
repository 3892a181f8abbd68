"""Removes everything that git ignores in this clone, and its folder for sockets.

Runs on any Python, since the clone's own environment goes with the rest.
"""

from __future__ import annotations

import shutil
import subprocess

from stacks import environment


def main() -> None:
    """Leaves the clone as git would check it out; files that git does not know of stay."""
    shutil.rmtree(environment.runtime_directory(), ignore_errors=True)
    # the user's own ignore file names things such as an editor's settings: not ours to remove
    only_ours = ["git", "-c", "core.excludesFile=/dev/null", "clean", "-ffdXq"]
    subprocess.run(only_ours, cwd=environment.ROOT, check=True)


if __name__ == "__main__":
    main()
