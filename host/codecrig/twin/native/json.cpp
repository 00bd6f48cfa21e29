#include "json.h"

#include <charconv>
#include <cmath>

namespace twin {
namespace {

constexpr int MAX_DEPTH = 32;

class Parser {
 public:
  explicit Parser(std::string_view source) : source_(source) {}

  Json whole() {
    Json value = parse(0);
    skip_space();
    if (at_ != source_.size()) fail("one JSON value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    throw JsonError("not JSON: expected " + expected + " at byte " + std::to_string(at_));
  }
  void skip_space() {
    while (at_ < source_.size() && (source_[at_] == ' ' || source_[at_] == '\t' || source_[at_] == '\r' || source_[at_] == '\n'))
      ++at_;
  }
  bool take(char wanted) {
    skip_space();
    if (at_ >= source_.size() || source_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (source_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json parse(int depth) {
    if (depth > MAX_DEPTH) fail("at most 32 levels");
    skip_space();
    Json value;
    if (at_ >= source_.size()) fail("a value");
    if (take('{')) {
      value.type = Json::Type::object;
      if (take('}')) return value;
      do {
        skip_space();
        if (at_ >= source_.size() || source_[at_] != '"') fail("a key");
        std::string key = text();
        if (!take(':')) fail("':'");
        value.object[std::move(key)] = parse(depth + 1);
      } while (take(','));
      if (!take('}')) fail("'}'");
    } else if (take('[')) {
      value.type = Json::Type::array;
      if (take(']')) return value;
      do value.array.push_back(parse(depth + 1));
      while (take(','));
      if (!take(']')) fail("']'");
    } else if (source_[at_] == '"') {
      value.type = Json::Type::text;
      value.text = text();
    } else if (take_word("true")) {
      value.type = Json::Type::boolean;
      value.boolean = true;
    } else if (take_word("false")) {
      value.type = Json::Type::boolean;
    } else if (!take_word("null")) {
      value.type = Json::Type::number;
      const char* const end = source_.data() + source_.size();
      const auto result = std::from_chars(source_.data() + at_, end, value.number);
      if (result.ec != std::errc() || !std::isfinite(value.number)) fail("a value");
      at_ = static_cast<size_t>(result.ptr - source_.data());
    }
    return value;
  }

  uint32_t hex4() {
    uint32_t value = 0;
    if (at_ + 4 > source_.size()) fail("4 hexadecimal digits");
    const auto result = std::from_chars(source_.data() + at_, source_.data() + at_ + 4, value, 16);
    if (result.ptr != source_.data() + at_ + 4) fail("4 hexadecimal digits");
    at_ += 4;
    return value;
  }

  std::string text() {
    std::string out;
    ++at_;
    while (true) {
      if (at_ >= source_.size()) fail("'\"'");
      const char letter = source_[at_++];
      if (letter == '"') return out;
      if (static_cast<unsigned char>(letter) < 0x20) fail("no control character in a text");
      if (letter != '\\') {
        out += letter;
        continue;
      }
      if (at_ >= source_.size()) fail("an escape");
      switch (source_[at_++]) {
        case '"': out += '"'; break;
        case '\\': out += '\\'; break;
        case '/': out += '/'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'n': out += '\n'; break;
        case 'r': out += '\r'; break;
        case 't': out += '\t'; break;
        case 'u': {
          const uint32_t code = hex4();
          out += code < 0x80 ? static_cast<char>(code) : '?';  // no operation takes other letters
          break;
        }
        default: fail("an escape");
      }
    }
  }

  std::string_view source_;
  size_t at_ = 0;
};

constexpr char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

Json Json::parse(std::string_view source) { return Parser(source).whole(); }

const Json* Json::find(const std::string& key) const {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &found->second;
}

int64_t Json::integer(const std::string& key, int64_t lowest, int64_t highest) const {
  const Json* value = find(key);
  if (value == nullptr || value->type != Type::number || value->number != std::floor(value->number) ||
      value->number < static_cast<double>(lowest) || value->number > static_cast<double>(highest))
    throw JsonError("'" + key + "': expected an integer from " + std::to_string(lowest) + " to " + std::to_string(highest));
  return static_cast<int64_t>(value->number);
}

bool Json::flag(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr || value->type != Type::boolean) throw JsonError("'" + key + "': expected true or false");
  return value->boolean;
}

const std::string& Json::string(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr || value->type != Type::text) throw JsonError("'" + key + "': expected a text");
  return value->text;
}

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') {
      out += '\\';
      out += letter;
    } else if (static_cast<unsigned char>(letter) < 0x20 || static_cast<unsigned char>(letter) > 0x7e) {
      out += '?';
    } else {
      out += letter;
    }
  }
  return out + '"';
}

std::string base64_encode(const uint8_t* data, size_t length) {
  std::string out;
  out.reserve((length + 2) / 3 * 4);
  for (size_t at = 0; at < length; at += 3) {
    const size_t left = length - at;
    const uint32_t group = static_cast<uint32_t>(data[at]) << 16 | (left > 1 ? static_cast<uint32_t>(data[at + 1]) << 8 : 0) |
                           (left > 2 ? data[at + 2] : 0);
    out += BASE64[group >> 18];
    out += BASE64[group >> 12 & 63];
    out += left > 1 ? BASE64[group >> 6 & 63] : '=';
    out += left > 2 ? BASE64[group & 63] : '=';
  }
  return out;
}

std::vector<uint8_t> base64_decode(std::string_view text) {
  static const auto table = [] {
    std::vector<int> values(256, -1);
    for (int index = 0; index < 64; ++index) values[static_cast<unsigned char>(BASE64[index])] = index;
    return values;
  }();
  if (text.size() % 4 != 0) throw JsonError("not base64: length is not a multiple of 4");
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::vector<uint8_t> out;
  out.reserve(text.size() / 4 * 3);
  for (size_t at = 0; at < text.size(); at += 4) {
    uint32_t group = 0;
    for (size_t index = 0; index < 4; ++index) {
      const bool pad = at + index >= text.size() - padding;
      const int value = pad ? 0 : table[static_cast<unsigned char>(text[at + index])];
      if (value < 0) throw JsonError("not base64: bad letter at " + std::to_string(at + index));
      group = group << 6 | static_cast<uint32_t>(value);
    }
    for (int shift = 16; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(group >> shift));
  }
  out.resize(out.size() - padding);
  return out;
}

}  // namespace twin
