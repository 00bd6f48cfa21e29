// Lock-step with the simulated FPGA and USB bus (host/codecrig/twin): commands on standard input, answers on standard output.
//
//   node src/main.js FIRMWARE.elf SERIAL
//
// All numbers are little-endian. The twin commands; while it waits for the answer to RUN, the emulator asks back what happens at
// its pins, each time with the time in ns. `lines` is bit 0 attention, bit 1 CDONE.
//
//   twin to emulator                         emulator to twin
//   'R' u64 until_ns, u8 lines               'D' u64 now_ns, u8 state (bit 0 busy, 1 attached, 2 left for the boot loader,
//                                              3 asleep), u64 wake_ns (asleep: when the next alarm is due)
//     answer to 'T': bytes, u8 lines           'T' u64 now_ns, u8 n, n bytes: exchange on SPI
//     answer to the others: u8 lines           'C' u64 now_ns, u8 low: chip select;  'X' reset;  'Y' chip select of the configuration port
//                                              'Z' u64 now_ns, u8 n, n bytes: to the configuration port
//   'S' 8 bytes setup; 'B' bus reset; 'U' suspend; 'F' u16 start of frame     'K'
//   'O' u8 endpoint, u8 n, n bytes           'A' ack, 'N' nak, 'L' stall, 'G' no answer
//   'I' u8 endpoint                          'A' u8 n, n bytes; or as for OUT
//   'Q'                                      'Q' u32 sequence errors, u32 overflows, u64 instructions, u64 cycles awake, u32 bytes of stack used,
//                                              u32 bytes of stack
//
// An error ends the process with a line on standard error.

import { readSync, writeSync } from 'node:fs';

import { Machine } from './machine.js';

const STDIN = 0;
const STDOUT = 1;

function read(count) {
  const buffer = Buffer.alloc(count);
  for (let at = 0; at < count; ) {
    let got;
    try {
      got = readSync(STDIN, buffer, at, count - at);
    } catch (error) {
      if (error.code === 'EAGAIN') continue;
      if (error.code !== 'EOF') throw error;
      got = 0;
    }
    if (got === 0) process.exit(0); // the twin has gone
    at += got;
  }
  return buffer;
}

function write(...parts) {
  const buffer = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))));
  for (let at = 0; at < buffer.length; ) at += writeSync(STDOUT, buffer, at);
}

function u64(value) {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(Math.round(value)));
  return buffer;
}

function main([elf, serial]) {
  let machine;
  let configByte = 1; // a 1 marks how many bits are in
  let configBytes = [];
  const booting = () => machine === undefined;
  const lines = (byte) => {
    machine.setAttention((byte & 1) !== 0);
    machine.setDone((byte & 2) !== 0);
  };
  const flushConfig = () => {
    if (configBytes.length === 0) return;
    const bytes = configBytes;
    configBytes = [];
    write('Z', u64(machine.nanos), [bytes.length], bytes);
    lines(read(1)[0]);
  };
  const tell = (letter, low) => {
    if (booting()) return;
    flushConfig();
    write(letter, u64(machine.nanos), [low ? 1 : 0]);
    lines(read(1)[0]);
  };
  const fpga = {
    select: (low) => tell('C', low),
    reset: (low) => tell('X', low),
    configSelect: (low) => {
      configByte = 1;
      tell('Y', low);
    },
    configBit: (high) => {
      configByte = (configByte << 1) | (high ? 1 : 0);
      if (configByte < 256) return;
      configBytes.push(configByte & 255);
      configByte = 1;
      if (configBytes.length === 128) flushConfig();
    },
    exchange: (bytes) => {
      write('T', u64(machine.nanos), [bytes.length], bytes);
      const answer = read(bytes.length + 1);
      lines(answer[bytes.length]);
      return [...answer.subarray(0, bytes.length)];
    },
  };
  machine = new Machine(elf, fpga, BigInt(serial));
  const { usb } = machine;
  const handshake = { ack: 'A', nak: 'N', stall: 'L', none: 'G' };
  for (;;) {
    const command = String.fromCharCode(read(1)[0]);
    switch (command) {
      case 'R': {
        const body = read(9);
        lines(body[8]);
        machine.run(Number(body.readBigUInt64LE(0)));
        flushConfig();
        const state = (machine.busy ? 1 : 0) | (usb.attached ? 2 : 0) | (machine.left ? 4 : 0) | (machine.asleep ? 8 : 0);
        write('D', u64(machine.nanos), [state], u64(machine.wakeNanos));
        break;
      }
      case 'S':
        usb.setup(read(8));
        write('K');
        break;
      case 'B':
        usb.busReset();
        write('K');
        break;
      case 'U':
        usb.suspend();
        write('K');
        break;
      case 'F':
        usb.startOfFrame(read(2).readUInt16LE(0));
        write('K');
        break;
      case 'O': {
        const [endpoint, count] = read(2);
        write(handshake[usb.out(endpoint, count ? read(count) : Buffer.alloc(0))]);
        break;
      }
      case 'I': {
        const answer = usb.in(read(1)[0]);
        if (typeof answer === 'string') write(handshake[answer]);
        else write('A', [answer.length], answer);
        break;
      }
      case 'Q': {
        const body = Buffer.alloc(32);
        body.writeUInt32LE(usb.sequenceErrors, 0);
        body.writeUInt32LE(usb.overflows, 4);
        body.writeBigUInt64LE(BigInt(machine.instructions), 8);
        body.writeBigUInt64LE(BigInt(machine.awakeCycles), 16);
        body.writeUInt32LE(machine.stackUsed, 24);
        body.writeUInt32LE(machine.stack.length, 28);
        write('Q', body);
        break;
      }
      default:
        throw new Error(`unknown command ${JSON.stringify(command)}`);
    }
  }
}

try {
  main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`emulator: ${error.message}\n`);
  process.exit(1);
}
