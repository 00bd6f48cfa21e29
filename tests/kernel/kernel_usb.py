"""The Linux kernel's own USB stack as a client of the simulated board.

    python tests/kernel/kernel_usb.py

Boots a Debian kernel under QEMU (no root, no acceleration), attaches the twin to it over USB/IP (vhci_hcd), and runs
`lsusb -v` and usb_client.c in the guest. Exit status 0 if every step passed, lsusb finds the descriptors, and the
kernel logged no complaint about the device. The log is build/kernel/guest.log.

Needs qemu-system-x86_64, busybox (static), cpio, usbip, lsusb, depmod, cc and libusb-1.0's header; on Debian:
apt install qemu-system-x86 busybox-static cpio usbip usbutils kmod libusb-1.0-0-dev. The kernel is the newest one below
/boot with its modules, or Debian's package, fetched into build/kernel (70 MB) with the system untouched.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "kernel"
TOOLS = ("qemu-system-x86_64", "busybox", "cpio", "usbip", "lsusb", "depmod", "cc")
PACKAGES = "qemu-system-x86 busybox-static cpio usbip usbutils kmod libusb-1.0-0-dev"
PROGRAMS = ("usbip", "lsusb")
MODULES = ("virtio_pci", "virtio_net", "vhci-hcd")
GUEST_LIMIT_S = 180
# What the kernel says when a device misbehaves.
COMPLAINTS = re.compile(
    r"(error|warn|fail|invalid|unable|not responding|timed out|BUG|reset .* bus|too (big|small)|can't)",
    re.IGNORECASE,
)
# Lines that hold such a word without blaming the device.
INNOCENT = re.compile(
    r"vhci_hcd: (connection closed|stop threads|release socket|disconnect device)|reset full-speed USB device"
)
DESCRIPTORS = (
    r"iProduct\s+\d+ codecrig twin\n",
    r"bInterfaceClass\s+255\b.*\n\s+bInterfaceSubClass\s+67\b",
    r"bInterfaceProtocol\s+82\b",
    r"iInterface\s+\d+ codecrig bridge\n",
    r"bInterfaceClass\s+2\b",
    r"Binary Object Store Descriptor",
    r"PlatformCapabilityUUID\s+\{d8dd60df-4589-4cc7-9cd2-659d9e648a9f\}",
)


class Problem(Exception):
    """Something is missing. The message says what, and how to get it."""


def find_kernel() -> tuple[Path, Path, str]:
    """(kernel image, root of its lib/modules, release)."""
    for root in (Path("/"), BUILD / "package"):
        for image in sorted((root / "boot").glob("vmlinuz-*"), reverse=True):
            release = image.name.removeprefix("vmlinuz-")
            modules = root / "lib/modules" / release
            if (modules / "modules.dep").exists() and list(modules.rglob("vhci-hcd.ko*")):
                return image, root, release
    return fetch_kernel()


def fetch_kernel() -> tuple[Path, Path, str]:
    """Debian's kernel, unpacked below build/kernel/package."""
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        depends = subprocess.run(
            ["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True
        )
        name = re.search(r"Depends: (linux-image-\S+)", depends.stdout)
        if name is None:
            raise Problem("linux-image-amd64 is not known to apt; run: apt-get update")
        subprocess.run(["apt-get", "-q", "download", name[1]], cwd=BUILD, check=True, stdout=subprocess.DEVNULL)
        package = max(BUILD.glob("linux-image-*.deb"), key=lambda file: file.stat().st_mtime)
        subprocess.run(["dpkg", "-x", str(package), str(BUILD / "package")], check=True)
        package.unlink()
        subprocess.run(["depmod", "-b", str(BUILD / "package"), name[1].removeprefix("linux-image-")], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Problem(f"no kernel below /boot with vhci-hcd, and Debian's could not be fetched: {error}") from error
    release = name[1].removeprefix("linux-image-")
    return BUILD / "package" / "boot" / f"vmlinuz-{release}", BUILD / "package", release


def make_initrd(root: Path, release: str) -> Path:
    """Busybox, the programs with their libraries, the modules in order of loading."""
    tree = BUILD / "initrd"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "proc", "sys", "dev", "modules", "etc", "usr/share/hwdata", "usr/share/misc"):
        (tree / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, tree / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    client = BUILD / "usb_client"
    subprocess.run(
        ["cc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I/usr/include/libusb-1.0", "-o", str(client),
         str(HERE / "usb_client.c"), "-lusb-1.0"],
        check=True,
    )  # fmt: skip
    for program in [client, *(Path(shutil.which(name) or "") for name in PROGRAMS)]:
        target = tree / "bin" / program.name
        target.unlink(missing_ok=True)
        shutil.copy(program, target)
        libraries = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", libraries):
            (tree / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, tree / library.lstrip("/"))
    order: list[str] = []
    for module in MODULES:
        needed = subprocess.run(
            ["modprobe", "-d", str(root), "-S", release, "--show-depends", module], capture_output=True, text=True
        )
        for file in re.findall(r"^insmod (\S+)", needed.stdout, re.MULTILINE):
            if Path(file).name not in order:
                order.append(Path(file).name)
                shutil.copy(file, tree / "modules" / Path(file).name)
    if not any(name.startswith("vhci-hcd") for name in order):
        raise Problem(f"kernel {release} has no vhci-hcd module below {root}/lib/modules (depmod has run?)")
    (tree / "modules/order").write_text("\n".join(order) + "\n")
    shutil.copy(HERE / "init", tree / "init")
    (tree / "init").chmod(0o755)
    names = subprocess.run(["find", ".", "-print0"], cwd=tree, capture_output=True, check=True).stdout
    archive = subprocess.run(
        ["cpio", "-0", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names, capture_output=True, check=True
    ).stdout
    initrd = BUILD / "initrd.gz"
    initrd.write_bytes(gzip.compress(archive, 1))
    return initrd


def run_guest(kernel: Path, initrd: Path, port: int) -> str:
    """Boots the guest; returns what it printed."""
    command = [
        "qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-m", "256", "-smp", "1", "-cpu", "max", "-nodefaults",
        "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel),
        "-initrd", str(initrd), "-append", f"console=ttyS0 quiet panic=-1 PORT={port}",
        "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
    ]  # fmt: skip
    log = BUILD / "guest.log"
    with log.open("wb") as output:
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=GUEST_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            pass  # the log says how far it came
    return log.read_text(errors="replace").replace("\r", "")


def section(text: str, name: str) -> str:
    match = re.search(rf"BEGIN {name}\n(.*?)END {name}", text, re.DOTALL)
    return match[1] if match else ""


def judge(text: str) -> list[str]:
    """What went wrong, a line each."""
    problems = [line for line in text.splitlines() if line.startswith("FAIL")]
    if "RESULT PASS" not in text:
        problems.append("the client did not come to its end with RESULT PASS")
    if "GUEST DONE" not in text:
        problems.append(f"the guest did not come to its end within {GUEST_LIMIT_S} s")
    descriptors = section(text, "lsusb")
    problems += [
        f"lsusb shows nothing like {pattern}" for pattern in DESCRIPTORS if not re.search(pattern, descriptors)
    ]
    for line in section(text, "dmesg").splitlines():
        if COMPLAINTS.search(line) and not INNOCENT.search(line):
            problems.append(f"the kernel says: {line}")
    return problems


def main() -> int:
    os.environ["PATH"] += os.pathsep + "/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"error: {', '.join(missing)} not found; on Debian: apt install {PACKAGES}", file=sys.stderr)
        return 3
    from codecrig import twin

    try:
        kernel, root, release = find_kernel()
        initrd = make_initrd(root, release)
        twin.build(lambda stage: print(stage, file=sys.stderr))
        with twin.TwinProcess() as process:
            started = time.monotonic()
            text = run_guest(kernel, initrd, process.usbip_port)
            seconds = time.monotonic() - started
    except (Problem, twin.TwinError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    steps = len(re.findall(r"^PASS", text, re.MULTILINE))
    problems = judge(text)
    for problem in problems:
        print(problem)
    print(
        f"Linux {release}: {steps} steps passed, {len(problems)} problems, {seconds:.0f} s; log {BUILD / 'guest.log'}"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
