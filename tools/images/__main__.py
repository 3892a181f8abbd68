"""Images of ours without an engine.

    python -m tools.images root KIND --out FOLDER    the files, and FOLDER.json, how they run
    python -m tools.images look KIND FOLDER          what of files must not be in an image
    python -m tools.images prove KIND FOLDER         runs in them what the image is for
    python -m tools.images lock                      writes each kind's packages.txt

`root` makes no image: it proves what a Dockerfile makes (docs/images.md).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tools.images import lay, lock, prove, root
from tools.images.dockerfile import DockerfileError

_OURS = (lay.LayError, root.RootError, DockerfileError, lock.LockError, prove.ProofError)


def commit() -> dict[str, str]:
    """The build's arguments that the clone itself knows."""
    told = subprocess.run(
        ["git", "log", "-1", "--format=%H %ct"],
        cwd=root.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return {"BASE": root.BASE, "REVISION": told[0], "SOURCE_DATE_EPOCH": told[1]}


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tools.images", description="Images without an engine.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("root")
    made.add_argument("kind", choices=lay.KINDS)
    made.add_argument("--out", type=Path, required=True)
    for verb in ("look", "prove"):
        seen = verbs.add_parser(verb)
        seen.add_argument("kind", choices=lay.KINDS)
        seen.add_argument("folder", type=Path)
    verbs.add_parser("lock")
    asked = parser.parse_args(arguments)
    try:
        return _do(asked)
    except _OURS as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _do(asked: argparse.Namespace) -> int:
    match asked.verb:
        case "root":
            given = commit()
            image = root.make(asked.kind, asked.out, given=given, **root.uv_here())
            config = json.dumps(image.config(), indent=2, sort_keys=True)
            asked.out.with_name(f"{asked.out.name}.json").write_text(f"{config}\n")
        case "look":
            found = root.problems(asked.folder, shells=lay.KINDS[asked.kind].shells)
            sys.stdout.write("".join(f"{line}\n" for line in found))
            return 1 if found else 0
        case "prove":
            image = root.dockerfile(asked.kind, commit())
            seen = prove.prove(asked.kind, asked.folder, image)
            sys.stdout.write("".join(f"{line}\n" for line in seen))
        case "lock":
            lock.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
