/* The border between the portable firmware and the board it runs on. A port implements every function here.
 *
 * All of them are called from the main loop only, never from an interrupt. None may block: an SPI transfer is started and
 * polled. Nothing in firmware/core allocates memory.
 */
#ifndef CODECRIG_PORT_H
#define CODECRIG_PORT_H

#include <stdbool.h>
#include <stdint.h>

/* ---- SPI to the FPGA: mode 0, most significant bit first, BRIDGE_SPI_HZ ---- */

/* Starts a full-duplex DMA transfer of `length` bytes: sends the `tx_bytes` of tx (0 to length), then 0x00. Both buffers belong to the port until
 * port_spi_busy() returns false. */
void port_spi_start(const uint8_t *tx, uint32_t tx_bytes, uint8_t *rx, uint32_t length);
bool port_spi_busy(void);

/* Drives chip select at once. false may come while a transfer runs: its remaining bytes go nowhere. */
void port_spi_select(bool selected);

/* Level of the FPGA's attention line: a reply waits to be clocked out. */
bool port_attention(void);

/* The FPGA is configured (CDONE). */
bool port_fpga_done(void);

/* ---- configuring the FPGA: its slave SPI port ---- */

/* true: holds the FPGA in reset, which clears it, and takes the lines of its configuration port. false: lets it go. */
void port_fpga_reset(bool held);

/* Drives the port's chip select. */
void port_fpga_config_select(bool selected);

/* Starts to send bytes, most significant bit first; they stay valid until port_fpga_config_busy() returns false. */
void port_fpga_config_send(const uint8_t *bytes, uint32_t length);
bool port_fpga_config_busy(void);

/* Lets go of the lines. */
void port_fpga_config_release(void);

/* ---- the board ---- */

/* Restarts into the boot loader, which waits for a new firmware over USB. Returns only where there is none. */
void port_boot_loader(void);

/* Microseconds since power-up. */
uint64_t port_time_us(void);

/* Unique number of this board; becomes the USB serial string. */
uint64_t port_serial(void);

/* NULL, or why this board cannot be used, in a few words: becomes part of the product string, and nothing else of the device works. */
const char *port_refusal(void);

/* ---- USB: the two bulk endpoints of the bridge ----
 *
 * TinyUSB opens, halts and closes them; packets go past it. Each has two buffers: while the main loop works on one, the host fills or
 * fetches the other. */

/* TinyUSB has just opened both: nothing is queued, OUT takes packets. */
void port_bulk_open(void);

/* The oldest packet from the host, in place until it is released; NULL if none waits. */
const uint8_t *port_bulk_out(uint32_t *length);
void port_bulk_out_release(void);

/* Room for a packet to the host, and a copy of one into it; up to 64 bytes. */
bool port_bulk_in_ready(void);
void port_bulk_in(const uint8_t *bytes, uint32_t length);

/* A packet with data waits to be fetched. An empty one does not count, nobody may ever fetch it; but it does while the host could not. */
bool port_bulk_in_busy(void);

/* Takes back what the host has not got; returns how many packets. The data toggle stays in step with the host. */
uint32_t port_bulk_in_drop(void);

/* True once after a halt, or the clearing of one, has thrown away packets to the host. */
bool port_bulk_in_lost(void);

#endif
