// What rp2040js 1.4.1 gets wrong and this firmware needs right. test/repairs.test.js shows each fault on the emulator as it comes.

// An exception must not leave the Thumb bit of its vector in PC: `add rN, pc` in the handler would be off by one.
export function repairExceptionEntry(core) {
  const enter = core.exceptionEntry;
  core.exceptionEntry = function (number) {
    enter.call(this, number);
    this.PC = (this.PC & ~1) >>> 0;
  };
}

// WFI with PRIMASK set wakes on a pending interrupt and does not enter its handler.
export function repairWakeUp(core) {
  const check = core.checkForInterrupts;
  core.checkForInterrupts = function () {
    if (this.waiting && this.PM) return (this.pendingInterrupts & this.enabledInterrupts) !== 0;
    return check.call(this);
  };
}

// The serial port must complete a byte behind the time that it takes: completed within the write that starts it, the DMA
// channel that feeds it loses bytes. `exchange(bytes)` gets all that stands in the FIFO and returns what came back for it.
export function repairSpi(mcu, spi, exchange) {
  const answers = [];
  const end = mcu.clock.createAlarm(() => spi.completeTransmit(answers.shift()));
  spi.onTransmit = (byte) => {
    if (answers.length === 0) {
      const { buffer, start, itemCount } = spi.txFIFO;
      const bytes = [byte];
      for (let index = 0; index < itemCount; index++) bytes.push(buffer[(start + index) % buffer.length]);
      answers.push(...exchange(Uint8Array.from(bytes)));
    }
    end.schedule((8 * 1e9) / spi.clockFrequency);
  };
}

// The PIO blocks step with the system clock. The emulator steps them in a timer of the event loop, which the lock-step never comes
// back to. Returns how far they may be carried on: advance(cycles), to be called in small steps; and whether any of them runs.
export function repairPio(mcu) {
  let time = 0;
  const blocks = mcu.pio.map((pio) => ({ pio, machines: pio.machines.map((machine) => ({ machine, at: 0 })) }));
  for (const { pio } of blocks) pio.run = () => {};
  return {
    get active() {
      return blocks.some(({ pio }) => !pio.stopped);
    },
    advance(cycles) {
      time += cycles;
      for (const { pio, machines } of blocks) {
        if (pio.stopped) continue;
        for (const each of machines) {
          const { machine } = each;
          if (!machine.enabled) continue;
          if (each.at < time - cycles) each.at = time - cycles; // it was stopped until now
          while (each.at < time) {
            const before = machine.cycles;
            machine.step();
            each.at += Math.max(1, machine.cycles - before) * machine.clockDivInt;
            pio.checkChangedPins();
            if (machine.waiting) each.at = Math.max(each.at, time);
          }
        }
      }
    },
  };
}

// The flash answers "read unique ID" (4Bh: four dummy bytes, then eight of number). `serial` is a BigInt.
export function repairFlashNumber(ssi, serial) {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(serial);
  const write = ssi.writeUint32.bind(ssi);
  let position = -1;
  ssi.writeUint32 = (offset, value) => {
    if (offset !== 0x60) return write(offset, value);
    position = position < 0 ? (value === 0x4b ? 0 : -1) : position + 1;
    ssi.dr0 = position > 4 ? number[position - 5] : 0;
    if (position === 12) position = -1;
    return undefined;
  };
}

// The chip says that it is of revision B2, on which transfers of the USB controller can be taken back; the emulator's says B1.
export function repairRevision(mcu, revision = 2) {
  mcu.peripherals[0x40000].readUint32 = (offset) => (offset === 0 ? ((revision << 28) | 0x2927) >>> 0 : 0);
}
