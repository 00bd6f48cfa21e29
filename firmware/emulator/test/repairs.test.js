// Each repair, and the fault that it cures shown on the emulator as it comes.

import assert from 'node:assert/strict';
import test from 'node:test';

import { RP2040 } from 'rp2040js';

import { repairExceptionEntry, repairFlashNumber, repairPio, repairRevision, repairSpi, repairWakeUp } from '../src/repairs.js';

const SRAM = 0x2000_0000;
const IRQ = 5;

// A processor with code at SRAM + 0x200 and one interrupt, handled at SRAM + 0x300.
function processor(code, handler) {
  const mcu = new RP2040();
  const { core } = mcu;
  const words = (at, list) => list.forEach((word, index) => mcu.writeUint16(SRAM + at + 2 * index, word));
  mcu.writeUint32(SRAM + 0, SRAM + 0x1000);
  mcu.writeUint32(SRAM + 4, SRAM + 0x201);
  mcu.writeUint32(SRAM + 4 * (16 + IRQ), SRAM + 0x301);
  words(0x200, code);
  words(0x300, handler);
  core.VTOR = SRAM;
  core.reset();
  core.enabledInterrupts = 1 << IRQ;
  return mcu;
}

const NOP = 0xbf00;
const WFI = 0xbf30;
const BX_LR = 0x4770;
const CPSID = 0xb672;
const CPSIE = 0xb662;
const MOVS_R0_1 = 0x2001;
const ADD_R0_PC = 0x4478;

function addPcInHandler(repair) {
  const mcu = processor([NOP, NOP, NOP, NOP], [ADD_R0_PC, BX_LR]);
  if (repair) repairExceptionEntry(mcu.core);
  mcu.core.registers[0] = 0;
  mcu.setInterrupt(IRQ, true);
  mcu.core.executeInstruction(); // enters the handler and carries out its first instruction
  return mcu.core.registers[0] >>> 0;
}

test('exception entry: PC is even in the handler', () => {
  assert.notEqual(addPcInHandler(false) & 1, 0, 'the fault has gone: drop the repair');
  assert.equal(addPcInHandler(true) & 1, 0);
});

// With interrupts masked, WFI wakes on a pending interrupt; the handler runs only behind CPSIE.
function maskedSleep(repair) {
  const mcu = processor([CPSID, WFI, MOVS_R0_1, CPSIE, NOP, NOP], [BX_LR]);
  const { core } = mcu;
  if (repair) {
    repairExceptionEntry(core);
    repairWakeUp(core);
  }
  core.registers[0] = 0;
  core.executeInstruction();
  core.executeInstruction();
  assert.ok(core.waiting);
  mcu.setInterrupt(IRQ, true);
  core.waiting = core.waiting && !core.checkForInterrupts();
  const entered = core.PC >>> 8 === (SRAM + 0x300) >>> 8;
  if (!core.waiting && !entered) core.executeInstruction();
  return { entered, woken: !core.waiting, continued: core.registers[0] === 1 };
}

test('WFI with interrupts masked wakes behind WFI', () => {
  const stock = maskedSleep(false);
  assert.ok(stock.entered || !stock.continued, 'the fault has gone: drop the repair');
  assert.deepEqual(maskedSleep(true), { entered: false, woken: true, continued: true });
});

// 64 bytes by DMA through the serial port; what came back.
function dmaThroughSpi(repair) {
  const mcu = new RP2040();
  const spi = mcu.spi[0];
  mcu.writeUint32(0x4003c000 + 0x10, 2); // clock divisor
  mcu.writeUint32(0x4003c000 + 0x00, 0x107); // 8 bits, another division by 2
  mcu.writeUint32(0x4003c000 + 0x24, 3); // DMA
  mcu.writeUint32(0x4003c000 + 0x04, 2); // enable
  if (repair) repairSpi(mcu, spi, (bytes) => [...bytes].map((byte) => byte ^ 0xff));
  else spi.onTransmit = (byte) => spi.completeTransmit(byte ^ 0xff);
  for (let index = 0; index < 64; index++) mcu.writeUint8(SRAM + index, index);
  const channel = (number, from, to, control) => {
    const base = 0x50000000 + 0x40 * number;
    mcu.writeUint32(base + 0x0, from);
    mcu.writeUint32(base + 0x4, to);
    mcu.writeUint32(base + 0x8, 64);
    mcu.writeUint32(base + 0xc, control | (number << 11) | 1);
  };
  const data = 0x4003c008;
  channel(1, data, SRAM + 0x100, (17 << 15) | (1 << 5)); // receive: request 17, the write address rises
  channel(0, SRAM, data, (16 << 15) | (1 << 4)); // send: request 16, the read address rises
  for (let step = 0; step < 100000; step++) mcu.clock.tick(100);
  return Array.from({ length: 64 }, (_, index) => mcu.readUint8(SRAM + 0x100 + index));
}

test('serial port with DMA: all bytes arrive', () => {
  const expected = Array.from({ length: 64 }, (_, index) => index ^ 0xff);
  let stock;
  try {
    stock = dmaThroughSpi(false);
  } catch (error) {
    stock = error.message;
  }
  assert.notDeepEqual(stock, expected, 'the fault has gone: drop the repair');
  assert.deepEqual(dmaThroughSpi(true), expected);
});

function flashNumber(repair) {
  const mcu = new RP2040();
  const ssi = mcu.peripherals[0x18000];
  if (repair) repairFlashNumber(ssi, 0x1122334455667788n);
  const answers = [];
  for (let index = 0; index < 13; index++) {
    ssi.writeUint32(0x60, index === 0 ? 0x4b : 0);
    answers.push(ssi.readUint32(0x60) & 0xff);
  }
  return Buffer.from(answers.slice(5)).toString('hex');
}

test('the flash tells its number', () => {
  assert.notEqual(flashNumber(false), '1122334455667788', 'the fault has gone: drop the repair');
  assert.equal(flashNumber(true), '1122334455667788');
});

test('the chip is of revision B2', () => {
  const revision = (mcu) => mcu.readUint32(0x40000000) >>> 28;
  const mcu = new RP2040();
  assert.notEqual(revision(mcu), 2, 'the fault has gone: drop the repair');
  repairRevision(mcu);
  assert.equal(revision(mcu), 2);
});

// A state machine that counts, in a program that never comes back to the event loop.
function pioCycles(repair) {
  const mcu = new RP2040();
  const pio = repair ? repairPio(mcu) : undefined;
  const begin = 0x5020_0000;
  mcu.writeUint32(begin + 0x48, 0xa042); // nop, at instruction 0
  mcu.writeUint32(begin + 0x0cc, 0); // wrap from 0 to 0
  mcu.writeUint32(begin, 1); // enable the first machine
  const counts = [mcu.pio[0].machines[0].cycles];
  for (let step = 0; step < 10; step++) {
    mcu.clock.tick(1000);
    pio?.advance(125);
    counts.push(mcu.pio[0].machines[0].cycles);
  }
  mcu.pio[0].stop();
  return counts;
}

test('PIO keeps step with the clock', () => {
  const faulty = pioCycles(false);
  assert.ok(faulty[0] > 500 && faulty[10] === faulty[0], 'the fault has gone: drop the repair');
  const repaired = pioCycles(true);
  assert.equal(repaired[0], 0);
  assert.ok(Math.abs(repaired[1] - 125) <= 1 && Math.abs(repaired[10] - 1250) <= 1, `${repaired}`);
});
