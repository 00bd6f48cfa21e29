// The USB controller's device half as the data sheet has it: what the bridge's double-buffered endpoints rely on.

import assert from 'node:assert/strict';
import test from 'node:test';

import { RP2040 } from 'rp2040js';

import { UsbDevice } from '../src/usb_device.js';

const DPRAM = 0x5010_0000;
const EP1_IN_CONTROL = DPRAM + 0x08;
const EP1_OUT_CONTROL = DPRAM + 0x0c;
const EP1_IN_BUFFERS = DPRAM + 0x88;
const EP1_OUT_BUFFERS = DPRAM + 0x8c;
const BUFF_STATUS = 0x5011_0058;
const DOUBLE = ((1 << 31) | (1 << 30) | (1 << 29) | (2 << 26)) >>> 0; // enabled, double-buffered, interrupt per buffer, bulk
const FULL = 1 << 15;
const DATA1 = 1 << 13;
const SELECT_FIRST = 1 << 12;
const STALL = 1 << 11;
const AVAILABLE = 1 << 10;
const packet = (value, length = 64) => new Uint8Array(length).fill(value);

function device() {
  const mcu = new RP2040();
  const usb = new UsbDevice(mcu);
  mcu.writeUint32(EP1_OUT_CONTROL, (DOUBLE | 0x180) >>> 0);
  mcu.writeUint32(EP1_IN_CONTROL, (DOUBLE | 0x200) >>> 0);
  const half = (base, index) => mcu.readUint16(base + 2 * index);
  return { mcu, usb, half };
}

test('OUT fills its two buffers in turn, refuses a third packet, and takes what is handed back', () => {
  const { mcu, usb, half } = device();
  mcu.writeUint16(EP1_OUT_BUFFERS, SELECT_FIRST | AVAILABLE | 64);
  mcu.writeUint16(EP1_OUT_BUFFERS + 2, DATA1 | AVAILABLE | 64);
  assert.equal(usb.out(1, packet(1, 5)), 'ack'); // a short one
  assert.equal(half(EP1_OUT_BUFFERS, 0), FULL | 5);
  assert.equal(mcu.readUint32(BUFF_STATUS), 1 << 3);
  assert.equal(usb.out(1, packet(2)), 'ack');
  assert.equal(half(EP1_OUT_BUFFERS, 1), FULL | DATA1 | 64);
  assert.equal(usb.out(1, packet(3)), 'nak');
  assert.deepEqual([mcu.readUint8(DPRAM + 0x180), mcu.readUint8(DPRAM + 0x1c0)], [1, 2]);
  mcu.writeUint16(EP1_OUT_BUFFERS, AVAILABLE | 64);
  assert.equal(usb.out(1, packet(3)), 'ack');
  assert.equal(mcu.readUint8(DPRAM + 0x180), 3);
  assert.equal(usb.sequenceErrors, 0);
});

test('a packet with the toggle of the one before is acknowledged and dropped', () => {
  const { mcu, usb, half } = device();
  mcu.writeUint16(EP1_OUT_BUFFERS, SELECT_FIRST | DATA1 | AVAILABLE | 64);
  assert.equal(usb.out(1, packet(1)), 'ack');
  assert.equal(half(EP1_OUT_BUFFERS, 0) & FULL, 0);
  assert.equal(usb.sequenceErrors, 1);
});

test('IN sends its buffers in turn; the select bit goes back to the first', () => {
  const { mcu, usb } = device();
  mcu.writeUint8(DPRAM + 0x200, 7);
  mcu.writeUint8(DPRAM + 0x240, 8);
  mcu.writeUint16(EP1_IN_BUFFERS, FULL | AVAILABLE | 1);
  assert.deepEqual([...usb.in(1)], [7]);
  assert.equal(usb.in(1), 'nak'); // the second buffer's turn
  mcu.writeUint16(EP1_IN_BUFFERS, FULL | DATA1 | AVAILABLE | 1);
  assert.equal(usb.in(1), 'nak');
  mcu.writeUint16(EP1_IN_BUFFERS, FULL | DATA1 | SELECT_FIRST | AVAILABLE | 1);
  assert.deepEqual([...usb.in(1)], [7]);
  mcu.writeUint16(EP1_IN_BUFFERS + 2, FULL | AVAILABLE | 1);
  assert.deepEqual([...usb.in(1)], [8]);
});

test('a halted endpoint stalls, whichever buffer is next', () => {
  const { mcu, usb } = device();
  mcu.writeUint16(EP1_OUT_BUFFERS, SELECT_FIRST | AVAILABLE | 64);
  assert.equal(usb.out(1, packet(1)), 'ack');
  mcu.writeUint16(EP1_OUT_BUFFERS, STALL);
  assert.equal(usb.out(1, packet(2)), 'stall');
});
