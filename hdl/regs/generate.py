"""Turns codecrig.rdl into the files that the other languages read.

Writes hdl/rtl/codecrig_pkg.sv, firmware/core/codecrig_regs.h, host/codecrig/link/registers.py and docs/registers.md.
With --check nothing is written; the exit code is 1 if a committed file differs. It knows no register by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode, MemNode, Node, RegfileNode, RegNode
from systemrdl.rdltypes.user_enum import UserEnum

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("codecrig.rdl")
STRUCTURES = ["request_header", "event_record", "descriptor", "midi_record"]
NOTE = "Generated from hdl/regs/codecrig.rdl by hdl/regs/generate.py. Do not edit."


@dataclass
class Field:
    name: str
    lsb: int
    width: int
    reset: int | None
    access: str
    desc: str


@dataclass
class Register:
    name: str
    address: int
    desc: str
    fields: list[Field]


@dataclass
class Group:
    """Registers that share a base; `count` and `stride` are set for arrays, whose registers are offsets."""

    name: str
    base: int
    desc: str
    registers: list[Register] = field(default_factory=list)
    count: int = 1
    stride: int = 0


def _desc(node: Node) -> str:
    return " ".join((node.get_property("desc") or "").split())


def _register(node: RegNode, base: int) -> Register:
    fields = []
    for item in node.fields():
        plain = "r" * item.is_sw_readable + "w" * item.is_sw_writable
        access = "w1c" if item.get_property("onwrite") else plain
        reset = item.get_property("reset")
        fields.append(Field(item.inst_name, item.lsb, item.width, reset, access, _desc(item)))
    return Register(node.inst_name, node.raw_address_offset + base, _desc(node), fields)


def _block_groups(block: AddrmapNode, name: str, base: int) -> Iterator[Group]:
    main = Group(name, base, block.get_property("name"))
    yield main
    for child in block.children(unroll=False):
        if isinstance(child, RegNode):
            main.registers.append(_register(child, 0))
        elif isinstance(child, RegfileNode):
            start = base + child.raw_address_offset
            registers = [_register(reg, 0) for reg in child.children() if isinstance(reg, RegNode)]
            count, stride = (child.array_dimensions[0], child.array_stride) if child.is_array else (1, 0)
            yield Group(child.inst_name, start, _desc(child), registers, count, stride)
        elif isinstance(child, MemNode):
            yield Group(child.inst_name, base + child.raw_address_offset, _desc(child), [], 1, child.size)


class Description:
    """The elaborated description: enums, structures (fields at byte offsets) and register groups."""

    def __init__(self) -> None:
        self.enums: list[tuple[str, list[tuple[str, int, str]]]] = []
        self.structures: list[Group] = []
        self.groups: list[Group] = []
        compiler = RDLCompiler()
        compiler.compile_file(str(SOURCE))
        for definition, _ in compiler.namespace.type_ns_stack[0].values():
            if isinstance(definition, type) and issubclass(definition, UserEnum):
                members = [(m.name, int(m.value), " ".join((m.rdl_desc or "").split())) for m in definition]
                self.enums.append((definition.type_name, members))
        for name in STRUCTURES:
            top = compiler.elaborate(top_def_name=name).top
            group = Group(name.upper(), 0, _desc(top), [_register(reg, 0) for reg in top.registers()], 1, top.size)
            self.structures.append(group)
        top = compiler.elaborate(top_def_name="codecrig").top
        for child in top.children():
            if isinstance(child, MemNode):
                self.groups.append(Group(child.inst_name, child.raw_address_offset, _desc(child), [], 1, child.size))
            else:
                self.groups.extend(_block_groups(child, child.inst_name, child.raw_address_offset))


def _constants(description: Description) -> Iterator[tuple[str, int, int]]:
    """Every constant as (name, value, width in bits), in one order for all languages."""
    for group in description.structures:
        yield f"{group.name}_BYTES", group.stride, 32
        for register in group.registers:
            for item in register.fields:
                yield f"{group.name}_{item.name.upper()}_OFFSET", register.address + item.lsb // 8, 32
                if item.width % 8:
                    yield f"{group.name}_{item.name.upper()}_BIT", item.lsb % 8, 32
    for group in description.groups:
        if not group.registers:
            yield f"{group.name}_BASE", group.base, 32
            yield f"{group.name}_BYTES", group.stride, 32
            continue
        yield f"{group.name}_BASE", group.base, 32
        if group.stride:
            yield f"{group.name}_COUNT", group.count, 32
            yield f"{group.name}_STRIDE", group.stride, 32
        for register in group.registers:
            offset = register.address if group.stride else group.base + register.address
            yield f"{group.name}_{register.name}", offset, 32
            for item in register.fields:
                if item.name != "value":
                    yield f"{group.name}_{register.name}_{item.name.upper()}_LSB", item.lsb, 32
                    yield f"{group.name}_{register.name}_{item.name.upper()}_W", item.width, 32
                if item.reset:
                    suffix = "" if item.name == "value" else f"_{item.name.upper()}"
                    yield f"{group.name}_{register.name}{suffix}_RESET", int(item.reset), 32


def _upper_snake(name: str) -> str:
    return "".join(("_" if i and c.isupper() else "") + c for i, c in enumerate(name)).upper()


def systemverilog(description: Description) -> str:
    lines = [f"// {NOTE}", "`default_nettype none", "", "/* verilator lint_off UNUSEDPARAM */", "package codecrig_pkg;"]
    for name, members in description.enums:
        for member, value, _ in members:
            lines.append(f"  localparam logic [7:0] {_upper_snake(name)}_{member} = 8'h{value:02X};")
    for name, value, width in _constants(description):
        lines.append(f"  localparam logic [{width - 1}:0] {name} = {width}'h{value:08X};")
    lines += ["endpackage", "/* verilator lint_on UNUSEDPARAM */", "", "`default_nettype wire", ""]
    return "\n".join(lines)


def c_header(description: Description) -> str:
    lines = [f"/* {NOTE} */", "#ifndef CODECRIG_REGS_H", "#define CODECRIG_REGS_H", ""]
    for name, members in description.enums:
        lines += [f"#define {_upper_snake(name)}_{member} 0x{value:02X}u" for member, value, _ in members]
    lines += [f"#define {name} 0x{value:08X}u" for name, value, _ in _constants(description)]
    lines += ["", "#endif", ""]
    return "\n".join(lines)


def python(description: Description) -> str:
    lines = [f'"""{NOTE}"""', "", "from enum import IntEnum", ""]
    for name, members in description.enums:
        lines += ["", f"class {name}(IntEnum):"]
        for member, value, desc in members:
            lines += [f"    {member} = {value}", f'    """{desc}"""']
        lines.append("")
    lines.append("")
    lines += [f"{name} = 0x{value:X}" for name, value, _ in _constants(description)]
    lines.append("")
    return "\n".join(lines)


def _markdown_registers(group: Group) -> Iterator[str]:
    yield "| Offset | Register | Bits | Field | Access | Reset | Meaning |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for register in group.registers:
        head = f"| 0x{register.address:03X} | {register.name} "
        for index, item in enumerate(register.fields):
            bits = f"{item.lsb + item.width - 1}:{item.lsb}" if item.width > 1 else f"{item.lsb}"
            reset = "" if item.reset is None else f"0x{item.reset:X}"
            meaning = " ".join(text for text in ([register.desc] if index == 0 else []) + [item.desc] if text)
            yield f"{head if index == 0 else '| | '}| {bits} | {item.name} | {item.access} | {reset} | {meaning} |"
    yield ""


def markdown(description: Description) -> str:
    lines = ["# Registers", "", f"<!-- {NOTE} -->", ""]
    lines += ["All addresses are byte addresses; all words are little-endian.", "", "## Codes", ""]
    for name, members in description.enums:
        lines += [f"### {name}", "", "| Value | Name | Meaning |", "| --- | --- | --- |"]
        lines += [f"| 0x{value:02X} | {member} | {desc} |" for member, value, desc in members]
        lines.append("")
    lines += ["## Structures", ""]
    for group in description.structures:
        lines += [f"### {group.name.lower()} ({group.stride} bytes)", "", group.desc, ""]
        lines += ["| Byte | Bits | Field |", "| --- | --- | --- |"]
        for register in group.registers:
            for item in register.fields:
                lines.append(f"| {register.address + item.lsb // 8} | {item.width} | {item.name} |")
        lines.append("")
    lines += ["## Address map", "", "| Base | Bytes | Name | Content |", "| --- | --- | --- | --- |"]
    for group in description.groups:
        size = f"0x{group.stride:X}" if group.stride else ""
        if group.registers and group.stride:
            size = f"{group.count} x {size}"
        lines.append(f"| 0x{group.base:08X} | {size} | {group.name} | {group.desc} |")
    lines.append("")
    for group in description.groups:
        if group.registers:
            lines += [f"## {group.name} (0x{group.base:08X})", "", *_markdown_registers(group)]
    return "\n".join(lines)


OUTPUTS = {
    "hdl/rtl/codecrig_pkg.sv": systemverilog,
    "firmware/core/codecrig_regs.h": c_header,
    "host/codecrig/link/registers.py": python,
    "docs/registers.md": markdown,
}


def main(arguments: list[str]) -> int:
    description = Description()
    stale = []
    for name, render in OUTPUTS.items():
        path, text = REPOSITORY / name, render(description)
        if "--check" in arguments:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in stale:
        print(f"{name}: differs from hdl/regs/codecrig.rdl; run: python hdl/regs/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
