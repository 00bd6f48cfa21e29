"""`python -m codecrig.twin [--trace]`: builds the twin program if need be, and prints its path."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from codecrig.twin.builder import BuildError, build

EXIT_BUILD_FAILED = 4


def main(arguments: Sequence[str]) -> int:
    unknown = set(arguments) - {"--trace"}
    if unknown:
        print(f"usage: python -m codecrig.twin [--trace]; found {' '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    try:
        print(build(lambda stage: print(stage, file=sys.stderr), trace="--trace" in arguments))
    except BuildError as problem:
        print(problem, file=sys.stderr)
        return EXIT_BUILD_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
