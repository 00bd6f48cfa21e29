/* The port for RP2040 (pico-ice) and RP2350 (pico2-ice): clocks, SPI with DMA, lines, watchdog, main loop.
 *
 * System clock 61.44 MHz: VCO 1536 MHz / 5 / 5. The FPGA gets it divided by 5, 12.288 MHz exactly, the SPI clock is a quarter of
 * it, 15.36 MHz. All of it runs from SRAM (the image is copied there at start), so flash never delays it.
 */
#include "port.h"

#include "config_spi.pio.h"
#include "firmware.h"
#include "hardware/clocks.h"
#include "hardware/dma.h"
#include "hardware/gpio.h"
#include "hardware/irq.h"
#include "hardware/pio.h"
#include "hardware/spi.h"
#include "hardware/sync.h"
#include "hardware/timer.h"
#include "hardware/watchdog.h"
#include "pico/bootrom.h"
#include "pico/platform.h"
#include "pico/time.h"
#include "pico/unique_id.h"
#include "tusb.h"
#include "wake.h"

#define SPI_HZ 15360000u
#define FPGA_CLOCK_DIVISOR 5u
#define CONFIG_CLOCK_DIVISOR 1u
#define WATCHDOG_MS 1000u
#define CONFIG_POLL_US 20u

_Static_assert(SYS_CLK_HZ == 61440000, "the audio clock is a fifth of the system clock");

static dma_channel_hw_t *spi_tx;     /* the request */
static dma_channel_hw_t *spi_filler; /* the zeros behind it; the request's channel starts it */
static dma_channel_hw_t *spi_rx;
static uint32_t spi_tx_alone;   /* control words of spi_tx */
static uint32_t spi_tx_chained;
static uint spi_rx_channel;
static uint config_channel;
static uint config_machine;
static bool config_sending;
static bool config_emptied; /* DMA and FIFO are; the last bits may be on their way */

/* ---------------------------------------------------------------- SPI to the running FPGA */

static void spi_begin(void) {
  gpio_init(PIN_SPI_CS_N);
  gpio_put(PIN_SPI_CS_N, true);
  gpio_set_dir(PIN_SPI_CS_N, GPIO_OUT);
  gpio_init(PIN_ATTENTION);
  gpio_pull_down(PIN_ATTENTION); /* low while the FPGA is not configured */
  spi_init(FPGA_SPI, SPI_HZ);
  gpio_set_function(PIN_SPI_RX, GPIO_FUNC_SPI);
  gpio_set_function(PIN_SPI_SCK, GPIO_FUNC_SPI);
  gpio_set_function(PIN_SPI_TX, GPIO_FUNC_SPI);

  const uint tx_channel = (uint)dma_claim_unused_channel(true);
  const uint filler_channel = (uint)dma_claim_unused_channel(true);
  spi_rx_channel = (uint)dma_claim_unused_channel(true);
  spi_tx = dma_channel_hw_addr(tx_channel);
  spi_filler = dma_channel_hw_addr(filler_channel);
  spi_rx = dma_channel_hw_addr(spi_rx_channel);

  dma_channel_config config = dma_channel_get_default_config(tx_channel);
  channel_config_set_transfer_data_size(&config, DMA_SIZE_8);
  channel_config_set_dreq(&config, spi_get_dreq(FPGA_SPI, true));
  spi_tx_alone = config.ctrl;
  channel_config_set_chain_to(&config, filler_channel);
  spi_tx_chained = config.ctrl;
  spi_tx->write_addr = (uintptr_t)&spi_get_hw(FPGA_SPI)->dr;

  static const uint8_t zero = 0;
  config = dma_channel_get_default_config(filler_channel);
  channel_config_set_transfer_data_size(&config, DMA_SIZE_8);
  channel_config_set_dreq(&config, spi_get_dreq(FPGA_SPI, true));
  channel_config_set_read_increment(&config, false);
  spi_filler->al1_ctrl = config.ctrl;
  spi_filler->read_addr = (uintptr_t)&zero;
  spi_filler->write_addr = (uintptr_t)&spi_get_hw(FPGA_SPI)->dr;

  config = dma_channel_get_default_config(spi_rx_channel);
  channel_config_set_transfer_data_size(&config, DMA_SIZE_8);
  channel_config_set_dreq(&config, spi_get_dreq(FPGA_SPI, false));
  channel_config_set_read_increment(&config, false);
  channel_config_set_write_increment(&config, true);
  spi_rx->al1_ctrl = config.ctrl;
  spi_rx->read_addr = (uintptr_t)&spi_get_hw(FPGA_SPI)->dr;
}

void port_spi_start(const uint8_t *tx, uint32_t tx_bytes, uint8_t *rx, uint32_t length) {
  const bool filler = tx_bytes < length;
  spi_rx->write_addr = (uintptr_t)rx;
  spi_rx->transfer_count = length;
  spi_filler->transfer_count = length - tx_bytes;
  uint32_t first = (uint32_t)(spi_filler - dma_hw->ch);
  if (tx_bytes > 0) {
    spi_tx->read_addr = (uintptr_t)tx;
    spi_tx->transfer_count = tx_bytes;
    spi_tx->al1_ctrl = filler ? spi_tx_chained : spi_tx_alone;
    first = (uint32_t)(spi_tx - dma_hw->ch);
  }
  dma_hw->multi_channel_trigger = 1u << spi_rx_channel | 1u << first;
}

/* The last byte has arrived when the receiving channel has stored it. */
bool port_spi_busy(void) { return dma_channel_is_busy(spi_rx_channel); }

static bool fpga_selected;

void port_spi_select(bool selected) {
  fpga_selected = selected;
  gpio_put(PIN_SPI_CS_N, !selected);
}

bool port_attention(void) { return gpio_get(PIN_ATTENTION); }

bool port_fpga_done(void) { return gpio_get(PIN_CDONE); }

/* ---------------------------------------------------------------- configuring the FPGA */

static void config_begin(void) {
  gpio_init(PIN_CDONE); /* has its own pull-up */
  gpio_init(PIN_CRESET_N);
  gpio_put(PIN_CRESET_N, false); /* driven low or let go; the board pulls it up */
  gpio_init(PIN_CONFIG_SELECT_N);
  gpio_put(PIN_CONFIG_SELECT_N, false); /* the same */
  config_machine = (uint)pio_claim_unused_sm(pio0, true);
  const uint program = (uint)pio_add_program(pio0, &config_spi_program);
  pio_sm_config config = config_spi_program_get_default_config(program);
  sm_config_set_out_pins(&config, PIN_CONFIG_DATA, 1);
  sm_config_set_sideset_pins(&config, PIN_CONFIG_CLOCK);
  sm_config_set_out_shift(&config, false, true, 8); /* the byte comes in the top bits: DMA repeats it in all four */
  sm_config_set_clkdiv_int_frac8(&config, CONFIG_CLOCK_DIVISOR, 0);
  pio_sm_init(pio0, config_machine, program, &config);
  config_channel = (uint)dma_claim_unused_channel(true);
}

void port_fpga_reset(bool held) {
  if (held) { /* take the lines: behind configuration they belong to the FPGA and its flash */
    pio_gpio_init(pio0, PIN_CONFIG_DATA);
    pio_gpio_init(pio0, PIN_CONFIG_CLOCK);
    pio_sm_set_consecutive_pindirs(pio0, config_machine, PIN_CONFIG_DATA, 1, true);
    pio_sm_set_consecutive_pindirs(pio0, config_machine, PIN_CONFIG_CLOCK, 1, true);
    pio_sm_set_enabled(pio0, config_machine, true);
  }
  gpio_set_dir(PIN_CRESET_N, held ? GPIO_OUT : GPIO_IN);
}

void port_fpga_config_select(bool selected) { gpio_set_dir(PIN_CONFIG_SELECT_N, selected ? GPIO_OUT : GPIO_IN); }

void port_fpga_config_send(const uint8_t *bytes, uint32_t length) {
  dma_channel_config config = dma_channel_get_default_config(config_channel);
  channel_config_set_transfer_data_size(&config, DMA_SIZE_8);
  channel_config_set_dreq(&config, pio_get_dreq(pio0, config_machine, true));
  config_sending = true;
  config_emptied = false;
  dma_channel_configure(config_channel, &config, &pio0->txf[config_machine], bytes, length, true);
}

bool port_fpga_config_busy(void) {
  const uint32_t stalled = 1u << (PIO_FDEBUG_TXSTALL_LSB + config_machine);
  if (!config_sending || dma_channel_is_busy(config_channel) || !pio_sm_is_tx_fifo_empty(pio0, config_machine)) {
    return config_sending;
  }
  if (!config_emptied) {
    config_emptied = true;
    pio0->fdebug = stalled; /* it stands from before the transfer; now it comes back when the last bit has gone */
  } else if ((pio0->fdebug & stalled) != 0) {
    config_sending = false;
  }
  return config_sending;
}

void port_fpga_config_release(void) {
  pio_sm_set_enabled(pio0, config_machine, false);
  gpio_init(PIN_CONFIG_DATA);
  gpio_init(PIN_CONFIG_CLOCK);
}

/* ---------------------------------------------------------------- the board */

uint64_t port_time_us(void) { return time_us_64(); }

uint64_t port_serial(void) {
  pico_unique_board_id_t id;
  pico_get_unique_board_id(&id);
  uint64_t serial = 0;
  for (uint32_t i = 0; i < sizeof id.id; i++) {
    serial = (serial << 8) | id.id[i];
  }
  return serial;
}

/* Errata E2 and E5: before B2 a transfer cannot be taken back, and enumeration behind a busy hub fails. */
const char *port_refusal(void) {
#if PICO_RP2040
  return rp2040_chip_version() >= 2 ? NULL : "needs RP2040 B2 or later";
#else
  return NULL;
#endif
}

void port_boot_loader(void) { reset_usb_boot(0, 0); }

/* TinyUSB asks for time in milliseconds. */
uint32_t tusb_time_millis_api(void) { return (uint32_t)(time_us_64() / 1000u); }

static void fpga_clock_begin(void) {
  clock_gpio_init_int_frac16(PIN_FPGA_CLOCK, CLOCKS_CLK_GPOUT0_CTRL_AUXSRC_VALUE_CLK_SYS, FPGA_CLOCK_DIVISOR, 0);
  hw_set_bits(&clocks_hw->clk[FPGA_CLOCK_OUTPUT].ctrl, CLOCKS_CLK_GPOUT0_CTRL_DC50_BITS); /* 50 % also for an odd divisor */
}

/* ---------------------------------------------------------------- sleep */

/* What may give the main loop something to do raises an interrupt: USB, the end of an SPI transfer, the attention line, the
 * next deadline. Their handlers do nothing but note it; the processor sleeps between. */
#define LONGEST_SLEEP_US (WATCHDOG_MS * 1000u / 4u)

volatile bool port_woken;

static void on_dma(void) {
  dma_irqn_acknowledge_channel(0, spi_rx_channel);
  dma_irqn_acknowledge_channel(0, config_channel);
  port_woken = true;
}

#define ATTENTION_INTERRUPT (&io_bank0_hw->proc0_irq_ctrl.inte[PIN_ATTENTION / 8u])
#define ATTENTION_IS_HIGH (GPIO_IRQ_LEVEL_HIGH << (4u * (PIN_ATTENTION % 8u)))

static void on_attention(void) {
  hw_clear_bits(ATTENTION_INTERRUPT, ATTENTION_IS_HIGH);
  port_woken = true;
}

static void on_alarm(uint alarm) {
  (void)alarm;
  port_woken = true;
}

static uint alarm_number;

static void sleep_begin(void) {
  dma_irqn_set_channel_enabled(0, spi_rx_channel, true);
  dma_irqn_set_channel_enabled(0, config_channel, true);
  irq_set_exclusive_handler(DMA_IRQ_0, on_dma);
  irq_set_enabled(DMA_IRQ_0, true);
  irq_set_exclusive_handler(IO_IRQ_BANK0, on_attention);
  irq_set_enabled(IO_IRQ_BANK0, true);
  alarm_number = (uint)hardware_alarm_claim_unused(true);
  hardware_alarm_set_callback(alarm_number, on_alarm);
}

static void sleep_until_something_happens(void) {
  const uint64_t now = time_us_64();
  const uint64_t deadline = firmware_deadline_us();
  uint64_t end = deadline < now + LONGEST_SLEEP_US ? deadline : now + LONGEST_SLEEP_US;
  if (port_fpga_config_busy()) {
    end = now + CONFIG_POLL_US; /* the last bits leave behind the DMA's end, which alone is reported */
  }
  /* An alarm that comes too early does no harm and costs less than one for every sleep. */
  static uint64_t alarm_us;
  if (alarm_us <= now || alarm_us > end) {
    alarm_us = end;
    if (hardware_alarm_set_target(alarm_number, from_us_since_boot(end))) {
      return; /* it has come already */
    }
  }
  if (fpga_selected && !port_spi_busy()) {
    hw_set_bits(ATTENTION_INTERRUPT, ATTENTION_IS_HIGH); /* during a transfer the line is of no interest, and moves a lot */
  }
  const uint32_t state = save_and_disable_interrupts();
  if (!port_woken && !tud_task_event_ready()) {
    __wfi(); /* wakes on a pending interrupt, which is served below */
  }
  restore_interrupts(state);
  hw_clear_bits(ATTENTION_INTERRUPT, ATTENTION_IS_HIGH);
}

/* For who looks on from outside (debugger, emulator). */
extern volatile uint8_t port_firmware_is_busy;
volatile uint8_t port_firmware_is_busy;

int main(void) {
  fpga_clock_begin();
  spi_begin();
  config_begin();
  if (!firmware_init()) {
    port_boot_loader();
  }
  sleep_begin();
  watchdog_enable(WATCHDOG_MS, true);
  for (;;) {
    watchdog_update();
    port_woken = false;
    const firmware_turn_t turn = firmware_task();
    port_firmware_is_busy = firmware_busy();
    if (turn != FIRMWARE_MORE) {
      sleep_until_something_happens();
    }
  }
}
