// As much JSON as the control channel needs: parses one value, with limits; writes are done by hand.
#ifndef CODECRIG_TWIN_JSON_H
#define CODECRIG_TWIN_JSON_H

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace twin {

class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Json {
  enum class Type { null, boolean, number, text, array, object } type = Type::null;
  bool boolean = false;
  double number = 0;
  std::string text;
  std::vector<Json> array;
  std::map<std::string, Json> object;

  static Json parse(std::string_view source);  // throws JsonError
  const Json* find(const std::string& key) const;

  // Typed access to a member; throws JsonError naming the key and what was expected.
  int64_t integer(const std::string& key, int64_t lowest, int64_t highest) const;
  bool flag(const std::string& key) const;
  const std::string& string(const std::string& key) const;
};

std::string json_quote(std::string_view text);

std::string base64_encode(const uint8_t* data, size_t length);
std::vector<uint8_t> base64_decode(std::string_view text);  // throws JsonError

}  // namespace twin
#endif
