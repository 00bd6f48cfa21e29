// Used only where the system has no lz4.h: writes valid LZ4 blocks that hold literals and no matches. FST traces get larger,
// every viewer reads them.
#ifndef CODECRIG_LZ4_FALLBACK_H
#define CODECRIG_LZ4_FALLBACK_H

#include <cstring>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* source, char* target, int size, int capacity) {
  if (capacity < LZ4_compressBound(size)) return 0;
  unsigned char* out = reinterpret_cast<unsigned char*>(target);
  *out++ = static_cast<unsigned char>((size < 15 ? size : 15) << 4);
  if (size >= 15) {
    int rest = size - 15;
    for (; rest >= 255; rest -= 255) *out++ = 255;
    *out++ = static_cast<unsigned char>(rest);
  }
  std::memcpy(out, source, static_cast<size_t>(size));
  return static_cast<int>(out - reinterpret_cast<unsigned char*>(target)) + size;
}

#endif
