/* pico-ice: RP2040 and iCE40UP5K. Pins from the netlist of Rev 3 (Rev 2 agrees). A board header of the Pico SDK. */
#ifndef _BOARDS_PICO_ICE_H
#define _BOARDS_PICO_ICE_H

// pico_cmake_set PICO_PLATFORM=rp2040

/* Flash: W25Q32JV. The plain read command is enough, the program is copied to SRAM. */
#define PICO_FLASH_SIZE_BYTES (4 * 1024 * 1024)
#define PICO_BOOT_STAGE2_CHOOSE_GENERIC_03H 1

/* SPI to the running FPGA, on the pins shared with Pmod 3. */
#define FPGA_SPI spi0
#define PIN_SPI_RX 4u
#define PIN_SPI_CS_N 5u
#define PIN_SPI_SCK 6u
#define PIN_SPI_TX 7u
#define PIN_ATTENTION 0u

/* Clock to the FPGA */
#define PIN_FPGA_CLOCK 24u
#define FPGA_CLOCK_OUTPUT clk_gpout2

/* Configuration. The data line is an input of the SPI block there, so a PIO program drives it. */
#define PIN_CRESET_N 27u
#define PIN_CDONE 26u
#define PIN_CONFIG_DATA 8u
#define PIN_CONFIG_SELECT_N 9u
#define PIN_CONFIG_CLOCK 10u

#endif
