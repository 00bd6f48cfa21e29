// What an ELF file puts into flash, and where its symbols lie.

// Returns [{address, bytes}], by load address. Throws if it is no 32-bit little-endian ELF file.
export function segments(file) {
  if (file.length < 52 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 1 || file[5] !== 1) {
    throw new Error('expected a 32-bit little-endian ELF file');
  }
  const [start, size, count] = [file.readUInt32LE(28), file.readUInt16LE(42), file.readUInt16LE(44)];
  const found = [];
  for (let index = 0; index < count; index++) {
    const header = start + index * size;
    const bytes = file.readUInt32LE(header + 16);
    if (file.readUInt32LE(header) === 1 && bytes > 0) {
      const offset = file.readUInt32LE(header + 4);
      found.push({ address: file.readUInt32LE(header + 12), bytes: file.subarray(offset, offset + bytes) });
    }
  }
  return found;
}

// Address of a global symbol. Throws if the file has none of that name.
export function symbol(file, name) {
  const [start, size, count] = [file.readUInt32LE(32), file.readUInt16LE(46), file.readUInt16LE(48)];
  for (let index = 0; index < count; index++) {
    const table = start + index * size;
    if (file.readUInt32LE(table + 4) !== 2) continue; // SHT_SYMTAB
    const strings = file.readUInt32LE(start + file.readUInt32LE(table + 24) * size + 16);
    const [offset, bytes] = [file.readUInt32LE(table + 16), file.readUInt32LE(table + 20)];
    for (let at = offset; at < offset + bytes; at += 16) {
      const text = strings + file.readUInt32LE(at);
      if (file.toString('latin1', text, file.indexOf(0, text)) === name) return file.readUInt32LE(at + 4);
    }
  }
  throw new Error(`the firmware has no symbol ${name}`);
}
