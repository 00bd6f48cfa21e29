"""A compiler front for Verilator's makefile (its OBJCACHE): compiles Verilator's runtime files once, not once a model.

Those files depend on nothing but the compiler, its options and the Verilator version, yet take half of each build.
Anything else is passed on unchanged.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / "build" / "hdl" / "object-cache"


def main(command: list[str]) -> int:
    source = next((Path(word) for word in command if word.endswith(".cpp")), None)
    if source is None or not source.name.startswith("verilated") or "-c" not in command or "-o" not in command:
        return subprocess.call(command)
    target = Path(command[command.index("-o") + 1])
    compiler = subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout
    words = "\0".join(word for word in command if word != str(target))
    cached = CACHE / (hashlib.sha256(words.encode() + compiler + source.read_bytes()).hexdigest() + ".o")
    if not cached.exists():
        code = subprocess.call(command)
        if code:
            return code
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}")
        shutil.copyfile(target, partial)
        partial.replace(cached)  # atomic: two builds may finish at once
        return 0
    shutil.copyfile(cached, target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
