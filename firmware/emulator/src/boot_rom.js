// Stands in for the boot ROM, which the emulator does not have: every function that is looked up does nothing and returns 0,
// but reset_usb_boot ('UB'), which stops at BKPT 0x55. The firmware looks up four others, around reading the flash's number.

export const BOOT_LOADER_BREAKPOINT = 0x55;

const CODE_START = 0x20;
const CODE = [
  0x4a05, // lookup: ldr r2, ='UB'
  0x4291, //         cmp r1, r2
  0xd001, //         beq 1f
  0x4805, //         ldr r0, =nothing
  0x4770, //         bx lr
  0x4805, // 1:      ldr r0, =usb_boot
  0x4770, //         bx lr
  0x2000, // nothing: movs r0, #0
  0x4770, //         bx lr
  0xbe00 | BOOT_LOADER_BREAKPOINT, // usb_boot: bkpt
  0xe7fe, //         b .
  0x0000,
  0x4255, 0x0000, // 'UB'
  0x002f, 0x0000, // nothing, Thumb
  0x0033, 0x0000, // usb_boot, Thumb
];

export function bootRom() {
  const rom = Buffer.alloc(CODE_START + 2 * CODE.length);
  rom.write('Mu\x03', 0x10, 'latin1'); // magic, version of B2 silicon
  rom.writeUInt16LE(CODE_START | 1, 0x18); // rom_table_lookup
  CODE.forEach((word, index) => rom.writeUInt16LE(word, CODE_START + 2 * index));
  return new Uint32Array(rom.buffer.slice(rom.byteOffset, rom.byteOffset + rom.length));
}
