#include "configuration.h"

#include <cctype>
#include <cstdlib>

namespace twin {

void Configuration::set_done(bool done) {
  done_ = done;
  done ? hardware_.start_design(hardware_.own_build()) : hardware_.stop_design();
}

void Configuration::set_design(uint32_t build) {
  done_ = true;
  hardware_.start_design(build);
}

void Configuration::set_foreign_design() {
  done_ = true;
  hardware_.stop_design();
}

void Configuration::set_fault(Fault fault) {
  fault_ = fault;
  done_ = false;
  hardware_.stop_design();
}

void Configuration::mend() {
  if (fault_ == Fault::none) return;
  fault_ = Fault::none;
  set_done(true);
}

void Configuration::reset(bool held, Units now) {
  if (held == held_) return;
  held_ = held;
  done_ = false;
  hardware_.stop_design();
  if (!held) {
    slave_ = selected_;
    broken_ = has_memory_ = checked_ = false;
    released_ = now;
    lead_bytes_ = tail_bytes_ = 0;
    step_ = Step::comment;
    comment_.clear();
    last_bytes_ = 0;
    crc_ = 0xFFFF;
    width_ = height_ = 0;
  }
}

void Configuration::clock_in(const uint8_t* bytes, uint64_t length, Units now) {
  if (held_ || !slave_ || done_ || fault_ != Fault::none) return;
  if (now - released_ < CLEARING) broken_ = true;
  const bool begun = step_ != Step::comment || !comment_.empty();
  if (!selected_ && !begun) {
    lead_bytes_ += length;
  } else if (!selected_) {
    tail_bytes_ += length;
    // Up to 100 clocks until CDONE rises, 49 more until the design has the pins.
    if (!broken_ && step_ == Step::awake && tail_bytes_ * 8 >= 149) wake();
  } else {
    if (lead_bytes_ == 0) broken_ = true;
    for (uint64_t index = 0; index < length && !broken_; ++index) take(bytes[index]);
  }
}

void Configuration::take(uint8_t byte) {
  last_bytes_ = last_bytes_ << 8 | byte;
  if (step_ == Step::awake) return;  // filler
  if (step_ == Step::comment) {
    comment_.push_back(static_cast<char>(byte));
    if (last_bytes_ == 0x7EAA997E) step_ = Step::command;
    else if (comment_.size() > COMMENT_LIMIT) broken_ = true;
    return;
  }
  for (int bit = 7; bit >= 0; --bit) crc_ = (crc_ << 1 & 0xFFFF) ^ (((crc_ >> 15 ^ byte >> bit) & 1) != 0 ? 0x1021 : 0);
  switch (step_) {
    case Step::command:
      command_ = byte & 0xF0;
      payload_left_ = byte & 0x0F;
      payload_ = 0;
      if (payload_left_ > 4) broken_ = true;
      else if (payload_left_ == 0) command();
      else step_ = Step::payload;
      return;
    case Step::payload:
      payload_ = payload_ << 8 | byte;
      if (--payload_left_ == 0) command();
      return;
    case Step::data:
      if (--data_left_ == 0) step_ = Step::end, data_left_ = 2;
      return;
    default:  // two zeros behind the data
      if (byte != 0) broken_ = true;
      if (--data_left_ == 0) step_ = Step::command;
  }
}

void Configuration::command() {
  step_ = Step::command;
  switch (command_) {
    case 0x00:
      if (payload_ == 1 || payload_ == 3) {
        data_left_ = static_cast<uint64_t>(width_) * height_ / 8;
        if (data_left_ == 0 || (payload_ == 1 && width_ != CRAM_WIDTH)) broken_ = true;  // for another device
        has_memory_ = has_memory_ || payload_ == 1;
        step_ = Step::data;
      } else if (payload_ == 5) {
        crc_ = 0xFFFF;
      } else if (payload_ == 6) {
        if (!has_memory_ || !checked_) broken_ = true;
        step_ = Step::awake;
      } else {
        broken_ = true;
      }
      return;
    case 0x20:
      if (crc_ != 0) broken_ = true;
      checked_ = true;
      return;
    case 0x60: width_ = payload_ + 1; return;
    case 0x70: height_ = payload_; return;
    case 0x10: case 0x50: case 0x80: case 0x90: return;  // bank, speed, offset, flags
    default: broken_ = true;
  }
}

void Configuration::wake() {
  done_ = true;
  const std::string words = "codecrig ", build = " build ";
  const size_t ours = comment_.find(words);
  const size_t number = ours == std::string::npos ? ours : comment_.find(build, ours);
  if (number == std::string::npos) return;
  const std::string digits = comment_.substr(number + build.size(), 8);
  for (const char digit : digits)
    if (std::isxdigit(static_cast<unsigned char>(digit)) == 0) return;
  if (digits.size() == 8) hardware_.start_design(static_cast<uint32_t>(std::strtoul(digits.c_str(), nullptr, 16)));
}

}  // namespace twin
