/* pico2-ice: RP2350B and iCE40UP5K. Pins from the netlist of Rev 2 (Rev 1 agrees). A board header of the Pico SDK. */
#ifndef _BOARDS_PICO2_ICE_H
#define _BOARDS_PICO2_ICE_H

// pico_cmake_set PICO_PLATFORM=rp2350

#define PICO_RP2350A 0 /* 48 pins */
#define PICO_FLASH_SIZE_BYTES (4 * 1024 * 1024)
#define PICO_BOOT_STAGE2_CHOOSE_GENERIC_03H 1

/* SPI to the running FPGA */
#define FPGA_SPI spi1
#define PIN_SPI_RX 24u
#define PIN_SPI_CS_N 25u
#define PIN_SPI_SCK 26u
#define PIN_SPI_TX 27u
#define PIN_ATTENTION 20u

/* Clock to the FPGA */
#define PIN_FPGA_CLOCK 21u
#define FPGA_CLOCK_OUTPUT clk_gpout0

/* Configuration. The data line is an input of the SPI block there, so a PIO program drives it. */
#define PIN_CRESET_N 31u
#define PIN_CDONE 40u
#define PIN_CONFIG_DATA 4u
#define PIN_CONFIG_SELECT_N 5u
#define PIN_CONFIG_CLOCK 6u

#endif
