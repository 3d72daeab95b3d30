"""Installs a wheel into an environment of its own, outside the checkout and without any other package, and uses it.

    python scripts/try_wheel.py dist/clusterbus-*.whl

`join_two_nodes.py` runs there. The sizes must stay below their bounds. Ends with 1 and a
line that says what is wrong. Never imports the package of the checkout. One thread, under a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import Final

WHEEL_LEN_MAX_BYTES: Final = 2_500_000
CORE_LEN_MAX_BYTES: Final = 4_000_000
DEADLINE_S: Final = 60.0

PROGRAM: Final = Path(__file__).with_name("join_two_nodes.py")


def main(wheel: Path) -> int:
    """Tries one wheel; returns the exit status."""
    sizes = {wheel.name: (wheel.stat().st_size, WHEEL_LEN_MAX_BYTES)}
    with zipfile.ZipFile(wheel) as files:
        cores = [entry for entry in files.infolist() if entry.filename.endswith(".so")]
        sizes |= {entry.filename: (entry.file_size, CORE_LEN_MAX_BYTES) for entry in cores}
        if "clusterbus/py.typed" not in files.namelist() or len(cores) != 1:
            return complain("the wheel lacks py.typed or the extension module")
    for name, (size_bytes, most_bytes) in sizes.items():
        print(f"{name}: {size_bytes:,} bytes")
        if size_bytes > most_bytes:
            return complain(f"{name} is over {most_bytes:,} bytes")
    with tempfile.TemporaryDirectory(prefix="clusterbus-wheel-") as folder:
        return try_in(Path(folder), wheel)


def try_in(folder: Path, wheel: Path) -> int:
    """Installs the wheel below `folder` and runs the program there; returns the exit status."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    # Without an index nothing but the wheel can be installed: it must need no other package.
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
    install: list[str | Path] = [*pip, "install", "--quiet", "--no-index", wheel.resolve()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    use: list[str | Path] = [python, "-I", PROGRAM.resolve()]
    for command in (install, use):
        ended = subprocess.run(command, cwd=folder, env=environment, timeout=DEADLINE_S, check=False)
        if ended.returncode != 0:
            return complain(f"{' '.join(map(str, command[:4]))} ended with {ended.returncode}")
    demo: list[str | Path] = [folder / "venv" / "bin" / "clusterbus", "demo"]
    said = subprocess.run(demo, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if said.returncode != 1 or "pip install 'clusterbus[demo]'" not in said.stderr or said.stderr.count("\n") != 1:
        return complain(f"without its packages the demo should say one line, not: {said.stderr}")
    print("the wheel works in a clean environment")
    return 0


def complain(text: str) -> int:
    """Says what is wrong; returns the exit status."""
    print(f"{Path(__file__).name}: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
