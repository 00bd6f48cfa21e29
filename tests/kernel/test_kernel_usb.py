"""What kernel_usb.py makes of a guest's log. The run itself is `make kernel-usb`."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def judge():  # type: ignore[no-untyped-def]
    specification = importlib.util.spec_from_file_location("kernel_usb", HERE / "kernel_usb.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["kernel_usb"] = module
    specification.loader.exec_module(module)
    return module.judge


GOOD = """PASS attach
BEGIN lsusb
  iProduct                2 codecrig twin
      bInterfaceClass       255 Vendor Specific Class
      bInterfaceSubClass     67
      bInterfaceProtocol     82
      iInterface              4 codecrig bridge
      bInterfaceClass         2 Communications
Binary Object Store Descriptor:
      PlatformCapabilityUUID    {d8dd60df-4589-4cc7-9cd2-659d9e648a9f}
END lsusb
PASS open
RESULT PASS
BEGIN dmesg
[    7.009016] usb 1-1: new full-speed USB device number 2 using vhci_hcd
[   12.805194] usb 1-1: reset full-speed USB device number 2 using vhci_hcd
END dmesg
GUEST DONE
"""


def test_a_good_log_has_no_problems(judge) -> None:  # type: ignore[no-untyped-def]
    assert judge(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("PASS open", "FAIL open", "FAIL open"),
        ("RESULT PASS\n", "", "the client did not come to its end with RESULT PASS"),
        ("GUEST DONE\n", "", "the guest did not come to its end within 180 s"),
        ("2 codecrig twin\n", "2 other\n", r"lsusb shows nothing like iProduct\s+\d+ codecrig twin\n"),
        ("END dmesg", "[ 9.1] usb 1-1: device descriptor read/64, error -71\nEND dmesg",
         "the kernel says: [ 9.1] usb 1-1: device descriptor read/64, error -71"),
        ("END dmesg", "[ 9.1] usb 1-1: config 1 interface 0 has an invalid descriptor\nEND dmesg",
         "the kernel says: [ 9.1] usb 1-1: config 1 interface 0 has an invalid descriptor"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(judge, old: str, new: str, problem: str) -> None:  # type: ignore[no-untyped-def]
    assert judge(GOOD.replace(old, new)) == [problem]
