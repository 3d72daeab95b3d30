"""Runs one target under atheris: `python -m tests.fuzz.fuzzer TARGET PROGRAM [LIBFUZZER ARGUMENTS]`; `make fuzz` does.

PROGRAM is how libFuzzer starts this again. Only the package is instrumented: coverage speaks of its code and not of the
targets'.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clusterbus"]):
    from tests.fuzz.table import TARGETS, words_of

WORK = Path(__file__).parents[2] / "target" / "fuzz"


def main() -> None:
    name, *arguments = sys.argv[1:]
    if words := words_of(name):
        WORK.mkdir(parents=True, exist_ok=True)
        dictionary = WORK / f"{name}.dict"
        dictionary.write_text("".join(f'"{escaped(word)}"\n' for word in words))
        arguments.append(f"-dict={dictionary}")
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


def escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main()
