/* Configures the FPGA page by page, over its slave SPI port. Driven by the bridge registers LOAD, LOAD_PAGE, LOAD_BUFFER.
 *
 * The sequence is that of the iCE40 UltraPlus (Lattice, iCE40 Programming and Configuration, slave SPI): reset with chip
 * select low, 1.2 ms for the chip to clear its memory, 8 clocks with chip select high, the bitstream, at least 149 clocks.
 */
#ifndef CODECRIG_FPGA_LOADER_H
#define CODECRIG_FPGA_LOADER_H

#include <stdbool.h>
#include <stdint.h>

void loader_init(void);

/* One of LoadCommand. */
void loader_command(uint32_t command);

/* As the register LOAD_PAGE. */
void loader_page(uint32_t value);

/* One word of LOAD_BUFFER; `offset` in bytes from its start. */
void loader_store(uint32_t offset, uint32_t value);
uint32_t loader_load(uint32_t offset);

/* As the registers FPGA_STATUS, LOAD, LOAD_PAGE and LOAD_CRC. */
uint32_t loader_status(void);
uint32_t loader_last_command(void);
uint32_t loader_last_page(void);
uint32_t loader_crc(void);

/* A command or a page is being carried out: nothing may be written meanwhile. */
bool loader_busy(void);

/* The FPGA is configured, and nobody is at work on it. */
bool loader_fpga_ready(void);

/* Does what can be done now. true if anything was done. */
bool loader_task(void);

/* Earliest time at which loader_task has something to do by time alone; UINT64_MAX if none. */
uint64_t loader_deadline_us(void);

#endif
