// The flashed firmware up to the registers behind which the emulator has nothing, and on a chip of revision B1.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Machine } from '../src/machine.js';

const ELF = process.env.CODECRIG_FIRMWARE;
const skip = !ELF && 'CODECRIG_FIRMWARE names no firmware';
const FPGA = { select() {}, reset() {}, configSelect() {}, configBit() {}, exchange: (bytes) => [...bytes].map(() => 0) };

function enumerated(revision) {
  const machine = new Machine(ELF, FPGA, 1n, revision);
  const { usb } = machine;
  const pass = (us) => machine.run(machine.nanos + 1000 * us);
  while (!usb.attached) pass(1000);
  usb.busReset();
  pass(2000);
  const control = (setup, bytes) => {
    usb.setup(Uint8Array.from(setup));
    const received = [];
    for (;;) {
      pass(500);
      const packet = usb.in(0);
      if (typeof packet === 'string') return packet;
      received.push(...packet);
      if (packet.length < 64) break;
    }
    pass(500);
    if (bytes > 0) usb.out(0, new Uint8Array(0));
    pass(500);
    return Buffer.from(received);
  };
  control([0, 5, 2, 0, 0, 0, 0, 0], 0);
  return control;
}

const product = (control) => control([0x80, 6, 2, 3, 9, 4, 255, 0], 255).subarray(2).toString('utf16le');
const configure = (control) => control([0, 9, 1, 0, 0, 0, 0, 0], 0);

test('revision B1 is refused with its reason', { skip }, () => {
  const control = enumerated(1);
  assert.equal(product(control), 'codecrig pico-ice: needs RP2040 B2 or later');
  assert.equal(configure(control), 'stall');
  assert.equal(product(control), 'codecrig pico-ice: needs RP2040 B2 or later');
});

test('revision B2 is not', { skip }, () => {
  const control = enumerated(2);
  assert.equal(product(control), 'codecrig pico-ice');
  assert.equal(configure(control).length, 0);
});

test('the watchdog is on, and fed in time while nothing happens', { skip }, () => {
  const machine = new Machine(ELF, FPGA, 1n);
  const watchdog = machine.mcu.peripherals[0x40058];
  const write = watchdog.writeUint32.bind(watchdog);
  const [CTRL, LOAD, ENABLE] = [0x00, 0x04, 1 << 30];
  const fed = [];
  let control = 0;
  watchdog.writeUint32 = (offset, value) => {
    if (offset === CTRL) control = value;
    if (offset === LOAD) fed.push({ at: machine.nanos, us: value / 2 }); // counts twice a tick (erratum E1)
    write(offset, value);
  };
  machine.run(3e9);
  assert.ok(control & ENABLE);
  assert.ok(fed.length > 6);
  for (let index = 1; index < fed.length; index++) {
    assert.ok((fed[index].at - fed[index - 1].at) / 1000 < fed[index - 1].us / 2);
  }
  assert.ok(machine.nanos - fed.at(-1).at < 1e9);
});
