"""Makes a clone of an unpacked bundle: `python3.12 -m tools.unbundle`, with no network.

Every file must be what the manifest says. The Python environment is then made from the wheels of
the bundle alone. Run again it does what is left to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from tools.install import ROOT, Installer, Machine, SetupError
from tools.setup import only_one, say
from tools.venv import Venv

_OWN = ".bundle"
_FORMAT = 1


def check(root: Path) -> None:
    """Raises `SetupError` unless every file of the bundle at `root` is as it was packed."""
    file = root / _OWN / "manifest.json"
    if not file.is_file():
        raise SetupError(f"{root} is not an unpacked bundle: it has no {_OWN}/manifest.json")
    manifest = json.loads(file.read_text(encoding="utf-8"))
    if manifest["format"] != _FORMAT:
        raise SetupError(f"the bundle has the format {manifest['format']}, this is for {_FORMAT}")
    wrong = [path for path, digest in manifest["files"].items() if _sha256(root / path) != digest]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise SetupError(f"not as packed, or missing: {', '.join(wrong[:5])}{more}")


def offline(root: Path) -> dict[str, str]:
    """What keeps uv to the wheels of the bundle at `root`."""
    return {
        "UV_FIND_LINKS": str(root / _OWN / "wheels"),
        "UV_NO_CACHE": "true",
        "UV_NO_CONFIG": "true",
        "UV_NO_INDEX": "true",
        "UV_OFFLINE": "true",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _sha256(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def main() -> int:
    """Returns the exit code."""
    os.environ.update(offline(ROOT))
    try:
        say("checking every file")
        check(ROOT)
        with only_one(ROOT):
            venv = Venv(Installer(Machine.here(ROOT)), ROOT / _OWN / "wheels.lock")
            if not venv.is_fresh():
                venv.make(say)
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
