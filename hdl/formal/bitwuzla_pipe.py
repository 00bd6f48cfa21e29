"""Bitwuzla as a program that reads SMT-LIB from a pipe, made of its Python package: `bitwuzla --lang smt2`.

yosys-smtbmc wants a program of that name; the package has none. prove.py writes a launcher for this file.
"""

from __future__ import annotations

import sys


def main() -> int:
    if "--help" in sys.argv[1:]:
        print("usage: bitwuzla --lang smt2 < file")  # yosys-smtbmc looks for --lang here
        return 0
    import bitwuzla

    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options, "smt2")
    parser.parse("<stdin>")
    return 0


if __name__ == "__main__":
    sys.exit(main())
