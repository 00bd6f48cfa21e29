// The microcontroller of a pico-ice with its firmware, and the pins towards the FPGA.

import { readFileSync } from 'node:fs';
import { ConsoleLogger, LogLevel, RP2040 } from 'rp2040js';

import { BOOT_LOADER_BREAKPOINT, bootRom } from './boot_rom.js';
import { segments, symbol } from './elf.js';
import { repairExceptionEntry, repairFlashNumber, repairPio, repairRevision, repairSpi, repairWakeUp } from './repairs.js';
import { UsbDevice } from './usb_device.js';

// Time is handed to the peripherals in such steps, or at the next alarm.
const STEP_NS = 400;
const FLASH = 0x1000_0000;
const SRAM = 0x2000_0000;
const UNTOUCHED = 0xa5; // the stack is filled with it at start

// As firmware/port/rp2040/boards/pico_ice.h
const PIN = { attention: 0, spiSelect: 5, configData: 8, configSelect: 9, configClock: 10, done: 26, reset: 27 };

export class Machine {
  // `fpga` hears what the pins do: select(low), exchange(bytes) -> bytes, reset(low), configSelect(low), configBit(bit).
  // All but exchange() may return nothing.
  constructor(elf, fpga, serial = 1n, revision = 2) {
    const file = readFileSync(elf);
    const mcu = new RP2040();
    this.mcu = mcu;
    mcu.logger = new ConsoleLogger(LogLevel.Error, true);
    mcu.loadBootrom(bootRom());
    for (const { address, bytes } of segments(file)) mcu.flash.set(bytes, address - FLASH);
    this.busyAddress = symbol(file, 'port_firmware_is_busy') - SRAM;
    this.stack = mcu.sram.subarray(symbol(file, '__StackBottom') - SRAM, symbol(file, '__StackTop') - SRAM);
    this.stack.fill(UNTOUCHED);
    repairExceptionEntry(mcu.core);
    repairWakeUp(mcu.core);
    repairSpi(mcu, mcu.spi[0], (bytes) => fpga.exchange(bytes));
    repairFlashNumber(mcu.peripherals[0x18000], serial);
    repairRevision(mcu, revision);
    this.pio = repairPio(mcu);
    this.usb = new UsbDevice(mcu);
    this.left = false; // for the boot loader
    this.pending = 0;
    this.instructions = 0;
    this.awakeCycles = 0;
    mcu.onBreak = (code) => {
      if (code !== BOOT_LOADER_BREAKPOINT) throw new Error(`the firmware stopped at a breakpoint, PC 0x${mcu.core.PC.toString(16)}`);
      this.left = true;
    };
    const pins = mcu.gpio;
    const level = (state) => (state & 1) !== 0; // GPIOPinState: Low, High, Input, InputPullUp, InputPullDown
    pins[PIN.spiSelect].addListener((state) => fpga.select(state === 0));
    pins[PIN.reset].addListener((state) => fpga.reset(state === 0));
    pins[PIN.configSelect].addListener((state) => fpga.configSelect(state === 0));
    pins[PIN.configClock].addListener((state, before) => {
      if (state === 1 && before === 0) fpga.configBit(level(pins[PIN.configData].value));
    });
    mcu.core.VTOR = FLASH + 0x100; // what the second boot stage does
    mcu.core.reset();
  }

  get nanos() {
    return this.mcu.clock.nanos + this.pending;
  }

  // A request is unanswered in the firmware, or replies wait to be fetched.
  get busy() {
    return this.mcu.sram[this.busyAddress] !== 0;
  }

  // The processor waits for an interrupt.
  get asleep() {
    const { core } = this.mcu;
    return core.waiting && (core.pendingInterrupts & core.enabledInterrupts) === 0;
  }

  // When the next alarm of any peripheral is due.
  get wakeNanos() {
    const { clock } = this.mcu;
    return clock.nextAlarm ? clock.nanos + clock.nanosToNextAlarm : 2 ** 53;
  }

  // Bytes of stack that the firmware has used so far, interrupts included.
  get stackUsed() {
    const touched = this.stack.findIndex((byte) => byte !== UNTOUCHED);
    return touched < 0 ? 0 : this.stack.length - touched;
  }

  setAttention(high) {
    this.mcu.gpio[PIN.attention].setInputValue(high);
  }

  setDone(high) {
    this.mcu.gpio[PIN.done].setInputValue(high);
  }

  // Runs until the time given, in ns since power-up.
  run(until) {
    const { core, clock } = this.mcu;
    let cycle = 1e9 / this.mcu.clkSys;
    while (this.nanos < until && !this.left) {
      if (core.waiting && core.pendingInterrupts & core.enabledInterrupts) core.waiting = false; // a wake-up that came before WFI
      if (core.waiting) {
        this.commit();
        let next = clock.nextAlarm ? Math.min(clock.nanosToNextAlarm, until - clock.nanos) : until - clock.nanos;
        if (this.pio.active) next = Math.min(next, STEP_NS);
        this.pending = Math.max(next, cycle);
        this.commit();
        continue;
      }
      const before = core.cycles;
      core.executeInstruction();
      this.instructions++;
      this.awakeCycles += core.cycles - before;
      this.pending += (core.cycles - before) * cycle;
      if (this.pending >= STEP_NS || (clock.nextAlarm && this.pending >= clock.nanosToNextAlarm)) {
        this.commit();
        cycle = 1e9 / this.mcu.clkSys; // from the clock registers, as the firmware sets them
      }
    }
    this.commit();
  }

  commit() {
    const step = this.pending;
    this.pending = 0;
    if (step <= 0) return;
    this.mcu.clock.tick(step);
    if (this.pio.active) this.pio.advance((step * this.mcu.clkSys) / 1e9);
  }
}
