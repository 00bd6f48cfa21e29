// The device half of the RP2040's USB controller at token level, in place of that of rp2040js: a buffer stays available until the
// host asks for it, so NAK, STALL, data toggles, double buffering, abort and suspend are as on the wire.
// Source: RP2040 data sheet, 4.1 (USB).

const AVAILABLE = 1 << 10;
const STALL = 1 << 11;
const SELECT_FIRST = 1 << 12;
const DATA1 = 1 << 13;
const FULL = 1 << 15;
const LENGTH = 0x3ff;

const SIE_CTRL = 0x4c;
const SIE_STATUS = 0x50;
const SOF_RD = 0x48;
const ABORT_DONE = 0x64;
const MUXING = 0x74;

const SUSPENDED = 1 << 4;
const SETUP_RECEIVED = 1 << 17;
const BUS_RESET = 1 << 19;
const CONNECTED = 1 << 16;
const SEQUENCE_ERROR = 1 << 31;
const WRITE_CLEARS = 0xff0e0810;

const INT_SUSPEND = 1 << 14;
const INT_SOF = 1 << 17;

export class UsbDevice {
  constructor(mcu) {
    const controller = mcu.usbCtrl;
    this.controller = controller;
    this.view = mcu.usbDPRAMView;
    this.memory = mcu.usbDPRAM;
    this.half = new Uint8Array(32); // the buffer of a double-buffered endpoint that is next
    this.toggles = new Map(); // the host's, by endpoint and direction
    this.sequenceErrors = 0;
    this.overflows = 0;
    this.atStatus = null; // what the host does to its toggles when the control transfer has succeeded

    controller.DPRAMUpdated = () => {}; // nothing happens until a token comes
    controller.onUSBEnabled = undefined;
    controller.onResetReceived = undefined;
    const read = controller.readUint32.bind(controller);
    const write = controller.writeUint32.bind(controller);
    controller.readUint32 = (offset) => {
      if (offset === SOF_RD) this.interrupt(INT_SOF, false);
      if (offset === ABORT_DONE) return controller.epAbort;
      if (offset === MUXING) return 9;
      return read(offset);
    };
    controller.writeUint32 = (offset, value) => {
      if (offset === SIE_STATUS) {
        controller.sieStatus &= ~(controller.rawWriteValue & WRITE_CLEARS);
        if (!(controller.sieStatus & SUSPENDED)) this.interrupt(INT_SUSPEND, false);
        controller.sieStatusUpdated();
      } else if (offset === SIE_CTRL) {
        controller.sieCtrl = value;
      } else if (offset !== ABORT_DONE) {
        write(offset, value);
      }
    };
  }

  get attached() {
    return (this.controller.mainCtrl & 1) !== 0 && (this.controller.sieCtrl & (1 << 16)) !== 0;
  }

  busReset() {
    this.toggles.clear();
    this.half.fill(0);
    this.status(BUS_RESET | CONNECTED);
  }

  suspend() {
    this.controller.sieStatus |= SUSPENDED;
    this.interrupt(INT_SUSPEND, true);
  }

  startOfFrame(number) {
    this.controller.sofFrameNumber = number & 0x7ff;
    this.interrupt(INT_SOF, true);
  }

  setup(packet) {
    this.memory.set(packet, 0);
    this.controller.epStallArm &= ~3;
    this.half[0] = this.half[1] = 0;
    this.toggles.set('in0', 1).set('out0', 1);
    const [type, request, value] = [packet[0], packet[1], packet[2] | (packet[3] << 8)];
    this.atStatus = null;
    if ((type === 0x00 && request === 9) || (type === 0x01 && request === 11)) {
      this.atStatus = () => [...this.toggles.keys()].filter((key) => !key.endsWith('n0') && !key.endsWith('t0')).forEach((key) => this.toggles.delete(key));
    } else if (type === 0x02 && request === 1 && value === 0) {
      this.atStatus = () => this.toggles.delete(`${packet[4] & 0x80 ? 'in' : 'out'}${packet[4] & 15}`);
    }
    this.status(SETUP_RECEIVED);
  }

  // An IN token: the packet (Uint8Array), or 'nak', 'stall', 'none' (no answer).
  in(number) {
    const endpoint = this.endpoint(number, false);
    if (!endpoint.enabled) return 'none';
    if (this.halted(number, endpoint)) return 'stall';
    const control = this.view.getUint16(endpoint.control, true);
    if (!(control & AVAILABLE) || !(control & FULL)) return 'nak';
    const data = this.memory.slice(endpoint.buffer, endpoint.buffer + (control & LENGTH));
    this.finish(endpoint, control & ~(AVAILABLE | FULL));
    const key = `in${number}`;
    const toggle = control & DATA1 ? 1 : 0;
    if (toggle !== (this.toggles.get(key) ?? 0)) {
      this.sequenceErrors++; // the host takes it for one that it has: it acknowledges and drops it
      return 'nak';
    }
    this.toggles.set(key, toggle ^ 1);
    if (number === 0 && data.length === 0 && this.atStatus) {
      this.atStatus();
      this.atStatus = null;
    }
    return data;
  }

  // An OUT token with its data: 'ack', 'nak', 'stall' or 'none'.
  out(number, data) {
    const endpoint = this.endpoint(number, true);
    if (!endpoint.enabled) return 'none';
    if (this.halted(number, endpoint)) return 'stall';
    const control = this.view.getUint16(endpoint.control, true);
    if (!(control & AVAILABLE)) return 'nak';
    const key = `out${number}`;
    const toggle = this.toggles.get(key) ?? 0;
    if (toggle !== (control & DATA1 ? 1 : 0)) {
      this.sequenceErrors++; // the controller takes it for one that it has: it acknowledges and drops it
      this.status(SEQUENCE_ERROR);
      this.toggles.set(key, toggle ^ 1);
      return 'ack';
    }
    if (data.length > (control & LENGTH)) {
      this.overflows++;
      return 'none';
    }
    this.memory.set(data, endpoint.buffer);
    this.toggles.set(key, toggle ^ 1);
    this.finish(endpoint, (control & ~(AVAILABLE | LENGTH)) | FULL | data.length);
    return 'ack';
  }

  endpoint(number, out) {
    const index = 2 * number + (out ? 1 : 0);
    let [enabled, double, perBuffer, perTwo, buffer] = [true, false, true, false, 0x100];
    if (number > 0) {
      const word = this.view.getUint32(4 * index, true);
      enabled = (word & (1 << 31)) !== 0;
      double = (word & (1 << 30)) !== 0;
      perBuffer = (word & (1 << 29)) !== 0;
      perTwo = (word & (1 << 28)) !== 0;
      buffer = word & 0xffc0;
    }
    const first = this.view.getUint16(0x80 + 4 * index, true);
    if (first & SELECT_FIRST) {
      this.half[index] = 0;
      this.view.setUint16(0x80 + 4 * index, first & ~SELECT_FIRST, true);
    }
    const half = double ? this.half[index] : 0;
    return { index, enabled, double, perBuffer, perTwo, half, control: 0x80 + 4 * index + 2 * half, buffer: buffer + 64 * half };
  }

  halted(number, endpoint) {
    const stalled = this.view.getUint16(0x80 + 4 * endpoint.index, true) & STALL;
    return stalled && (number > 0 || (this.controller.epStallArm >> (endpoint.index & 1)) & 1);
  }

  finish(endpoint, control) {
    this.view.setUint16(endpoint.control, control, true);
    if (endpoint.double) this.half[endpoint.index] ^= 1;
    if (endpoint.perBuffer || (endpoint.perTwo && endpoint.half)) {
      this.controller.buffStatus |= 1 << endpoint.index;
      this.controller.buffStatusUpdated();
    }
  }

  status(bits) {
    this.controller.sieStatus |= bits;
    this.controller.sieStatusUpdated();
  }

  interrupt(bit, on) {
    this.controller.intRaw = on ? this.controller.intRaw | bit : this.controller.intRaw & ~bit;
    this.controller.checkInterrupts();
  }
}
