"""Where third-party firmware sources are found, and which files make up a firmware build.

Finds TinyUSB (and, for the flashable port, the Pico SDK) without touching the system: a path in the environment, an
installed Debian package, or the Debian package downloaded into `build/`. It does not compile anything.

    python firmware/sources.py             # prints the TinyUSB directory, and on stderr how it was found
    python firmware/sources.py pico-sdk
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

FIRMWARE = Path(__file__).resolve().parent
BUILD = FIRMWARE.parent / "build"

# The Debian release whose archive carries the packages below, and releases that may be configured on this machine.
SUITE = "trixie"
ROLLING_SUITES = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"}
APT_TIMEOUT_S = 300.0  # an index of 10 MB and a package of a few MB over a slow line


class SourceError(Exception):
    """A third-party source tree is not to be had; the message names every way to provide it."""


@dataclass(frozen=True, slots=True)
class Package:
    """One source tree and the three ways to it."""

    name: str  # folder below build/, and argument on the command line
    title: str
    variable: str  # environment variable that names a checkout
    debian: str  # Debian package
    installed: Path  # where that package puts it
    version_file: str  # file below the tree that proves what it is, and says the version
    version_patterns: tuple[str, str]  # major, minor
    version: tuple[int, int]  # what the firmware is written for


TINYUSB = Package(
    name="tinyusb",
    title="TinyUSB",
    variable="TINYUSB_PATH",
    debian="tinyusb-source",
    installed=Path("/usr/src/tinyusb"),
    version_file="src/tusb_option.h",
    version_patterns=(r"#define\s+TUSB_VERSION_MAJOR\s+(\d+)", r"#define\s+TUSB_VERSION_MINOR\s+(\d+)"),
    version=(0, 18),
)
PICO_SDK = Package(
    name="pico-sdk",
    title="the Pico SDK",
    variable="PICO_SDK_PATH",
    debian="pico-sdk-source",
    installed=Path("/usr/src/pico-sdk"),
    version_file="pico_sdk_version.cmake",
    version_patterns=(r"PICO_SDK_VERSION_MAJOR\s+(\d+)", r"PICO_SDK_VERSION_MINOR\s+(\d+)"),
    version=(2, 1),
)
PACKAGES = {package.name: package for package in (TINYUSB, PICO_SDK)}


class Found(NamedTuple):
    path: Path
    how: str  # one sentence for logs and reports


class NativeSources(NamedTuple):
    """What the program that holds the firmware for this machine compiles, as C11, and how."""

    files: list[Path]  # our code: compile with -Wall -Wextra -Werror
    third_party_files: list[Path]  # TinyUSB: compile without -Werror
    include_dirs: list[Path]
    system_include_dirs: list[Path]  # TinyUSB's headers: -isystem
    defines: list[str]  # NAME=VALUE, without -D


# ---------------------------------------------------------------- finding


def find(package: Package, progress: Callable[[str], None] | None = None) -> Found:
    """The source tree of `package`. Downloads it (once) when it is neither named nor installed.

    Raises SourceError when no way leads to it.
    """
    wanted = "{}.{}".format(*package.version)
    named = os.environ.get(package.variable)
    if named:
        path = Path(named).expanduser().resolve()
        version = _version(package, path)
        if version is None:
            raise SourceError(
                f"{package.variable} is {path}, which is not {package.title}: expected {package.version_file} in it. "
                f"Set it to a checkout of {package.title} {wanted}, or unset it."
            )
        if version != package.version:
            raise SourceError(
                f"{package.variable} is {path}, version {version[0]}.{version[1]}: expected {package.title} {wanted}. "
                f"Check out the tag of that version, or unset {package.variable}."
            )
        return Found(path, f"{package.title} {wanted} from {package.variable}: {path}")

    if _version(package, package.installed) == package.version:
        return Found(package.installed, f"{package.title} {wanted} installed: {package.installed}")

    fetched = BUILD / package.name / str(package.installed).lstrip("/")
    if _version(package, fetched) == package.version:
        how = f"{package.title} {wanted} from Debian package {package.debian}, fetched earlier: {fetched}"
        return Found(fetched, how)

    if progress is not None:
        progress(f"fetching Debian package {package.debian} ({package.title} {wanted})")
    try:
        _fetch(package)
    except (SourceError, OSError) as problem:
        raise SourceError(
            f"{package.title} {wanted} was not found and could not be fetched: {problem}\n"
            f"Three ways to provide it: (1) set {package.variable} to a checkout of {package.title} {wanted}; "
            f"(2) install it so that {package.installed} exists (Debian 13: apt install {package.debian}); "
            f"(3) on Debian, let this program fetch {package.debian} with apt-get from the mirror "
            f"configured in /etc/apt (needs network the first time)."
        ) from problem
    if _version(package, fetched) != package.version:
        raise SourceError(
            f"Debian package {package.debian} of {SUITE} holds another version than {wanted}. "
            f"Set {package.variable} to a checkout of {package.title} {wanted}, "
            f"or install that version in {package.installed}."
        )
    return Found(fetched, f"{package.title} {wanted} from Debian package {package.debian}, fetched now: {fetched}")


def find_tinyusb(progress: Callable[[str], None] | None = None) -> Found:
    """TinyUSB for the firmware. See `find`."""
    return find(TINYUSB, progress)


def _version(package: Package, tree: Path) -> tuple[int, int] | None:
    try:
        text = (tree / package.version_file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    numbers = [re.search(pattern, text) for pattern in package.version_patterns]
    if numbers[0] is None or numbers[1] is None:
        return None
    return int(numbers[0].group(1)), int(numbers[1].group(1))


# ---------------------------------------------------------------- fetching the Debian package


def _fetch(package: Package) -> None:
    """Downloads and unpacks the package under build/<name>/. Nothing outside that folder is written."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise SourceError(f"{tool} is not on this machine")
    target = BUILD / package.name
    target.parent.mkdir(parents=True, exist_ok=True)
    # Everything happens in a private folder that is renamed when complete: two builds at once cannot meet half a tree.
    with tempfile.TemporaryDirectory(prefix=f".{package.name}-", dir=target.parent) as name:
        work = Path(name)
        parts = work / "sources.list.d"
        for folder in (parts, work / "lists" / "partial", work / "cache" / "archives" / "partial"):
            folder.mkdir(parents=True)
        if write_sources(parts, SUITE) == 0:
            raise SourceError("no Debian mirror is configured in /etc/apt/sources.list or /etc/apt/sources.list.d")
        configuration = work / "apt.conf"
        # Read after the machine's own configuration, so proxies stay; its hooks would clean caches and must not run.
        configuration.write_text(
            "#clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
            'APT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\n'
            f'Dir::Etc::SourceList "{work / "none"}";\n'
            f'Dir::Etc::SourceParts "{parts}";\n'
            f'Dir::State::Lists "{work / "lists"}";\n'
            f'Dir::Cache "{work / "cache"}";\n',
            encoding="utf-8",
        )
        _run(["apt-get", "-c", str(configuration), "-q", "update"], work)
        _run(["apt-get", "-c", str(configuration), "-q", "download", package.debian], work)
        archives = sorted(work.glob("*.deb"))
        if not archives:
            raise SourceError(f"apt-get download {package.debian} left no package")
        tree = work / "tree"
        _run(["dpkg", "-x", str(archives[0]), str(tree)], work)
        try:
            tree.rename(target)
        except OSError:
            # Somebody else was faster, or an older version lies there.
            if _version(package, target / str(package.installed).lstrip("/")) != package.version:
                shutil.rmtree(target, ignore_errors=True)
                tree.rename(target)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=APT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"`{' '.join(command)}` took longer than {APT_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise SourceError(f"`{' '.join(command)}` failed: {' / '.join(lines[-3:])}")


def write_sources(folder: Path, suite: str, etc: Path = Path("/etc/apt")) -> int:
    """Copies the machine's Debian mirrors to `folder`, with the suite replaced. Returns how many entries were written.

    Reads one-line and deb822 files. Keeps options and signing keys; leaves out third parties' repositories, security
    and update suites, and what is disabled.
    """
    suites = ROLLING_SUITES | {SUITE, _codename()}
    lines: list[str] = []
    paragraphs: list[str] = []
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    for file in files:
        for line in _text(file).splitlines():
            changed = _one_line(line, suites, suite)
            if changed is not None and changed not in lines:
                lines.append(changed)
    for file in sorted((etc / "sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", _text(file)):
            changed = _deb822(paragraph, suites, suite)
            if changed is not None and changed not in paragraphs:
                paragraphs.append(changed)
    if lines:
        (folder / "mirror.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if paragraphs:
        (folder / "mirror.sources").write_text("\n".join(paragraphs), encoding="utf-8")
    return len(lines) + len(paragraphs)


def _one_line(line: str, suites: set[str], suite: str) -> str | None:
    match = re.match(r"\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$", line.split("#", 1)[0])
    if match is None:
        return None
    options, uri, old_suite, components = match.groups()
    if old_suite not in suites or "main" not in components.split() or uri.startswith("cdrom:"):
        return None
    return f"deb {options or ''}{uri} {suite} main"


def _deb822(paragraph: str, suites: set[str], suite: str) -> str | None:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t" and name:
            fields[name] += "\n" + line
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
        return None
    if not suites & set(fields.get("suites", "").split()) or "main" not in fields.get("components", "").split():
        return None
    fields.update(types="deb", suites=suite, components="main")
    return "".join(f"{name.title()}: {value}\n" for name, value in fields.items())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _codename() -> str:
    for line in _text(Path("/etc/os-release")).splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=", 1)[1].strip().strip('"')
    return SUITE


# ---------------------------------------------------------------- what to compile


def core_files() -> list[Path]:
    """The portable part of the firmware: every .c file in firmware/core."""
    return sorted((FIRMWARE / "core").glob("*.c"))


def build_id() -> int:
    """BRIDGE_BUILD: the first 32 bits of a hash over the firmware's sources (core and ports)."""
    digest = hashlib.sha256()
    for file in sorted(path for path in FIRMWARE.rglob("*") if path.suffix in (".c", ".h", ".pio")):
        digest.update(file.relative_to(FIRMWARE).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return int.from_bytes(digest.digest()[:4], "big")


def native_sources(tinyusb: Path) -> NativeSources:
    """Files and flags of the firmware for this machine; `tinyusb` as `find_tinyusb().path`."""
    source = tinyusb / "src"
    return NativeSources(
        files=[*core_files(), *sorted((FIRMWARE / "port" / "native").glob("*.c"))],
        third_party_files=[
            source / "tusb.c",
            source / "common" / "tusb_fifo.c",
            source / "device" / "usbd.c",
            source / "device" / "usbd_control.c",
            source / "class" / "cdc" / "cdc_device.c",
        ],
        include_dirs=[FIRMWARE / "core", FIRMWARE / "port" / "native"],
        system_include_dirs=[source],
        defines=[
            "CFG_TUSB_MCU=OPT_MCU_NONE",
            "CFG_TUSB_OS=OPT_OS_NONE",
            "TUP_DCD_ENDPOINT_MAX=8",  # TinyUSB knows no such controller; numbers 0 to 7, each way
            f"CODECRIG_BUILD=0x{build_id():08X}u",
        ],
    )


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else TINYUSB.name
    if name not in PACKAGES or len(arguments) > 1:
        print(f"usage: sources.py [{' | '.join(PACKAGES)}]", file=sys.stderr)
        return 2
    try:
        found = find(PACKAGES[name], progress=lambda text: print(text, file=sys.stderr))
    except SourceError as problem:
        print(problem, file=sys.stderr)
        return 3
    print(found.how, file=sys.stderr)
    print(found.path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
