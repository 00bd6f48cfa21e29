"""Static analysis of the firmware finds nothing, and would find something."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from test_figures import load

analyse = load("analyse")


@pytest.mark.parametrize("name", list(analyse.ANALYSES))
def test_nothing_is_found(name: str) -> None:
    try:
        found = analyse.ANALYSES[name]()
    except (analyse.Missing, analyse.sources.SourceError, analyse.build.BuildFailed) as problem:
        pytest.skip(str(problem))
    assert found == ""


BUFFER_OVERRUN = """
#include <stdint.h>
#include <stdlib.h>
uint8_t wrong(void);
uint8_t wrong(void) {
  uint8_t *bytes = malloc(4);
  uint8_t last = bytes[0];
  free(bytes);
  return (uint8_t)(last + bytes[1]);
}
"""


@pytest.mark.parametrize(
    "command",
    [
        ("gcc", "-O1", "-fanalyzer", "-Werror", "-c", "-o", "/dev/null"),
        ("cppcheck", "--quiet", "--enable=warning", "--error-exitcode=1"),
    ],
    ids=lambda command: str(command[0]),
)
def test_a_fault_is_found(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "wrong.c"
    file.write_text(BUFFER_OVERRUN)
    try:
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} not found")
    assert done.returncode != 0
