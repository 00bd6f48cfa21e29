"""firmware/sources.py: the three ways to TinyUSB, and the private copy of the machine's mirrors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_firmware import FIRMWARE, load_sources


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with nothing installed, nothing fetched and nothing named."""
    module = load_sources()
    monkeypatch.setattr(module, "BUILD", tmp_path / "build")
    for package in module.PACKAGES.values():
        monkeypatch.delenv(package.variable, raising=False)
        object.__setattr__(package, "installed", tmp_path / "usr" / "src" / package.name)
    return module


def make_tinyusb(path: Path, minor: int = 18) -> Path:
    (path / "src").mkdir(parents=True)
    (path / "src" / "tusb_option.h").write_text(
        f"#define TUSB_VERSION_MAJOR     0\n#define TUSB_VERSION_MINOR     {minor}\n"
    )
    return path


def make_apt(path: Path) -> Path:
    parts = path / "sources.list.d"
    parts.mkdir(parents=True)
    (path / "sources.list").write_text(
        "# deb http://commented.invalid/debian bookworm main\n"
        "deb [signed-by=/k.gpg arch=amd64] http://one.invalid/debian stable main contrib # remark\n"
        "deb-src http://one.invalid/debian stable main\n"
        "deb http://one.invalid/debian stable-updates main\n"
        "deb http://third.invalid/vendor nodistro main\n"
        "deb cdrom:[Debian] stable main\n"
    )
    (parts / "debian.sources").write_text(
        "# remark\nTypes: deb deb-src\n# remark\nURIs: http://two.invalid/debian\nSuites: stable stable-updates\n"
        "Components: main contrib\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n"
        "Types: deb\nURIs: http://two.invalid/debian-security\nSuites: stable-security\nComponents: main\n\n"
        "Types: deb\nURIs: http://off.invalid/debian\nSuites: stable\nComponents: main\nEnabled: no\n"
    )
    (parts / "vendor.list").write_text("deb http://third.invalid/vendor stable extra\n")
    (parts / "ignored.list.save").write_text("deb http://saved.invalid/debian stable main\n")
    return path


def test_mirrors_are_copied_with_another_suite(sources: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    assert sources.write_sources(folder, "trixie", make_apt(tmp_path / "apt")) == 2
    assert (folder / "mirror.list").read_text() == (
        "deb [signed-by=/k.gpg arch=amd64] http://one.invalid/debian trixie main\n"
    )
    assert (folder / "mirror.sources").read_text() == (
        "Types: deb\nUris: http://two.invalid/debian\nSuites: trixie\nComponents: main\n"
        "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    )


def test_machine_without_mirror(sources: ModuleType, tmp_path: Path) -> None:
    assert sources.write_sources(tmp_path, "trixie", tmp_path / "nowhere") == 0


def test_named_path_comes_first(sources: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = make_tinyusb(tmp_path / "named")
    make_tinyusb(sources.TINYUSB.installed)
    monkeypatch.setenv("TINYUSB_PATH", str(named))
    found = sources.find_tinyusb()
    assert found.path == named
    assert "TINYUSB_PATH" in found.how


def test_installed_package_comes_second(sources: ModuleType) -> None:
    installed = make_tinyusb(sources.TINYUSB.installed)
    make_tinyusb(sources.BUILD / "tinyusb" / str(installed).lstrip("/"))
    found = sources.find_tinyusb()
    assert found.path == installed
    assert "installed" in found.how


def test_fetched_package_is_used_offline(sources: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_fetch", lambda package: pytest.fail("must not fetch again"))
    make_tinyusb(sources.TINYUSB.installed, minor=20)  # another version does not count
    fetched = make_tinyusb(sources.BUILD / "tinyusb" / str(sources.TINYUSB.installed).lstrip("/"))
    found = sources.find_tinyusb()
    assert found.path == fetched
    assert "fetched earlier" in found.how


@pytest.mark.parametrize("what", ["missing", "other version"])
def test_named_path_that_is_wrong(
    sources: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = tmp_path / "named"
    if what == "other version":
        make_tinyusb(path, minor=17)
    monkeypatch.setenv("TINYUSB_PATH", str(path))
    with pytest.raises(sources.SourceError, match="TINYUSB_PATH is .*named.* expected .*0.18"):
        sources.find_tinyusb()


@pytest.mark.parametrize("name", ["tinyusb", "pico-sdk"])
def test_no_way_names_all_three(sources: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sources.shutil, "which", lambda tool: None)
    package = sources.PACKAGES[name]
    with pytest.raises(sources.SourceError) as caught:
        sources.find(package)
    text = str(caught.value)
    assert package.variable in text
    assert str(package.installed) in text
    assert f"apt install {package.debian}" in text
    assert "apt-get is not on this machine" in text


def test_fetch_that_fails_leaves_nothing(sources: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("apt-get", "dpkg"):
        (tools / tool).write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
        (tools / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr(sources, "write_sources", lambda folder, suite: 1)
    with pytest.raises(sources.SourceError, match="E: no network"):
        sources.find_tinyusb()
    assert list(sources.BUILD.iterdir()) == []


def test_fetch_unpacks_below_build(sources: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for apt-get and dpkg: what is called, with which private folders, and where the result lies."""
    tools = tmp_path / "bin"
    tools.mkdir()
    inside = str(sources.TINYUSB.installed).lstrip("/")
    (tools / "apt-get").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncat "$2" > {tmp_path}/conf\n'
        '[ "$4" = download ] && touch "$5_0.18_all.deb"\nexit 0\n'
    )
    (tools / "dpkg").write_text(
        f'#!/bin/sh\nmkdir -p "$3/{inside}/src"\ncd "$3/{inside}/src"\n'
        'printf "#define TUSB_VERSION_MAJOR 0\\n#define TUSB_VERSION_MINOR 18\\n" > tusb_option.h\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr(sources, "write_sources", lambda folder, suite: 1)
    messages: list[str] = []
    found = sources.find_tinyusb(progress=messages.append)
    assert found.path == sources.BUILD / "tinyusb" / inside
    assert "fetched now" in found.how
    assert messages and "tinyusb-source" in messages[0]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[3] for call in calls] == ["update", "download"]
    configuration = (tmp_path / "conf").read_text()
    for key in ("Dir::Etc::SourceList", "Dir::Etc::SourceParts", "Dir::State::Lists", "Dir::Cache"):
        assert f'{key} "{sources.BUILD}/.tinyusb-' in configuration
    assert [path.name for path in sources.BUILD.iterdir()] == ["tinyusb"]
    assert sources.find_tinyusb().path == found.path


def test_build_id_follows_the_sources(sources: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "FIRMWARE", tmp_path)
    (tmp_path / "a.c").write_text("int a;")
    first = sources.build_id()
    (tmp_path / "notes.txt").write_text("no source")
    assert sources.build_id() == first
    (tmp_path / "a.c").write_text("int b;")
    assert sources.build_id() != first
    assert 0 <= first < 2**32


def test_command_line(tmp_path: Path) -> None:
    tinyusb = make_tinyusb(tmp_path / "t")
    script = str(FIRMWARE / "sources.py")
    done = subprocess.run(
        [sys.executable, script], env={"TINYUSB_PATH": str(tinyusb)}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"{tinyusb}\n")
    assert "TINYUSB_PATH" in done.stderr
    done = subprocess.run([sys.executable, script, "tinyusb3"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    done = subprocess.run(
        [sys.executable, script], env={"TINYUSB_PATH": "/nowhere"}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert "/nowhere" in done.stderr
