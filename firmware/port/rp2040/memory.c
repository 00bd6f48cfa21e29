/* memcpy and memset for a processor that reads and writes aligned words only. The C library's go byte by byte; the bridge copies every
 * packet. Words are taken apart and put together where the two sides are aligned differently. Nothing outside the two areas is touched.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint32_t __attribute__((may_alias)) word_t;

void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memset(void *to, int value, size_t length);

/* `from` is `shift` bits behind an aligned word; its bytes up to the next word are in `carry`. */
static inline uint8_t *copy_shifted(uint8_t *to, const word_t *from, const word_t *end, uint32_t carry, uint32_t shift) {
  while (from < end) {
    const uint32_t word = *from++;
    *(word_t *)to = carry | word << (32u - shift);
    carry = word >> shift;
    to += 4;
  }
  return to;
}

void *memcpy(void *restrict destination, const void *restrict source, size_t length) {
  uint8_t *to = destination;
  const uint8_t *from = source;
  uint8_t *const end = to + length;
  if (length >= 16 || (((uintptr_t)to | (uintptr_t)from) & 3u) == 0) {
    while (((uintptr_t)to & 3u) != 0) {
      *to++ = *from++;
    }
    const uint32_t odd = (uintptr_t)from & 3u;
    if (odd == 0) {
      for (; end - to >= 16; to += 16, from += 16) {
        const word_t *words = (const word_t *)from;
        const uint32_t a = words[0], b = words[1], c = words[2], d = words[3];
        word_t *target = (word_t *)to;
        target[0] = a;
        target[1] = b;
        target[2] = c;
        target[3] = d;
      }
      for (; end - to >= 4; to += 4, from += 4) {
        *(word_t *)to = *(const word_t *)from;
      }
    } else {
      /* the bytes before the next whole word of the source, then as many of its words as go into the target whole */
      uint32_t carry = 0;
      for (uint32_t i = odd; i < 4; i++) {
        carry |= (uint32_t)from[i - odd] << (8u * (i - odd));
      }
      const word_t *words = (const word_t *)(from + (4u - odd));
      const size_t count = ((size_t)(end - to) - (4u - odd)) / 4u;
      uint8_t *after;
      if (odd == 1) {
        after = copy_shifted(to, words, words + count, carry, 8u);
      } else if (odd == 2) {
        after = copy_shifted(to, words, words + count, carry, 16u);
      } else {
        after = copy_shifted(to, words, words + count, carry, 24u);
      }
      from += after - to;
      to = after;
    }
  }
  while (to < end) {
    *to++ = *from++;
  }
  return destination;
}

void *memset(void *destination, int value, size_t length) {
  uint8_t *to = destination;
  uint8_t *const end = to + length;
  if (length >= 16) {
    while (((uintptr_t)to & 3u) != 0) {
      *to++ = (uint8_t)value;
    }
    const uint32_t word = (uint8_t)value * 0x01010101u;
    for (; end - to >= 4; to += 4) {
      *(word_t *)to = word;
    }
  }
  while (to < end) {
    *to++ = (uint8_t)value;
  }
  return destination;
}
