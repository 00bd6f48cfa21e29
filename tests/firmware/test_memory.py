"""memcpy and memset of the RP2040 port, compiled for this machine under other names and sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from test_firmware import COMMON, FIRMWARE, STRICT, find_compiler

# Every alignment of both sides and every length up to four packets and some; areas on the heap, so that the address
# sanitizer sees a byte read or written outside.
PROGRAM = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
void *our_memcpy(void *restrict to, const void *restrict from, size_t length);
void *our_memset(void *to, int value, size_t length);

int main(void) {
  for (size_t to_odd = 0; to_odd < 4; to_odd++) {
    for (size_t from_odd = 0; from_odd < 4; from_odd++) {
      for (size_t length = 0; length < 300; length++) {
        uint8_t *to = malloc(to_odd + length + 1), *from = malloc(from_odd + length);
        to[to_odd + length] = 0x5A;
        for (size_t i = 0; i < length; i++) {
          from[from_odd + i] = (uint8_t)(i * 7 + length);
        }
        if (our_memcpy(to + to_odd, from + from_odd, length) != to + to_odd) return 1;
        for (size_t i = 0; i < length; i++) {
          if (to[to_odd + i] != (uint8_t)(i * 7 + length)) return printf("copy %zu %zu\n", to_odd, from_odd);
        }
        if (our_memset(to + to_odd, (int)(length + 256), length) != to + to_odd) return 1;
        for (size_t i = 0; i < length; i++) {
          if (to[to_odd + i] != (uint8_t)length) return printf("set %zu %zu\n", to_odd, length);
        }
        if (to[to_odd + length] != 0x5A) return printf("behind %zu %zu\n", to_odd, length);
        free(to);
        free(from);
      }
    }
  }
  return 0;
}
"""


def test_copies_and_fills_exactly(tmp_path: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler: looked for $CC, gcc, clang and cc")
    (tmp_path / "main.c").write_text(PROGRAM)
    renamed = ["-Dmemcpy=our_memcpy", "-Dmemset=our_memset"]
    library = tmp_path / "memory.o"
    source = FIRMWARE / "port" / "rp2040" / "memory.c"
    for command in (
        [compiler, *COMMON, *STRICT, *renamed, "-c", str(source), "-o", str(library)],
        [compiler, *COMMON, str(tmp_path / "main.c"), str(library), "-o", str(tmp_path / "main")],
        [str(tmp_path / "main")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
