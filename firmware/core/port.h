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

/* Starts a full-duplex DMA transfer. Both buffers belong to the port until port_spi_busy() returns false. */
void port_spi_start(const uint8_t *tx, uint8_t *rx, uint32_t length);
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

/* ---- USB ---- */

/* Takes back what is queued at an IN endpoint and reports it to TinyUSB as a failed transfer (XFER_RESULT_FAILED) with the
 * number of bytes that the host has got. Keeps the data toggle in step with the host: a packet that was never sent must not have advanced it. */
void port_usb_abort_in(uint8_t endpoint_address);

#endif
