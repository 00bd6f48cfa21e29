"""Sample formats: bytes in audio memory to left-justified samples and back. 24 bits are kept."""

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def decode_samples(data: Bytes, container_bytes: int, channels: int) -> npt.NDArray[np.int32]:
    """Memory bytes of whole frames as left-justified samples, frames by channels. 8 bit is unsigned in memory."""
    if container_bytes == 1:
        samples = (data ^ np.uint8(0x80)).view(np.int8).astype(np.int32) << 24
    elif container_bytes == 2:
        samples = data.view("<i2").astype(np.int32) << 16
    elif container_bytes == 3:
        wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = data.reshape(-1, 3)
        samples = wide.reshape(-1).view("<i4")
    else:
        samples = data.view("<i4") & np.int32(-256)
    return samples.reshape(-1, channels)


def encode_samples(samples: npt.NDArray[np.int32], container_bytes: int) -> Bytes:
    """Left-justified samples, frames by channels, as the bytes that capture writes."""
    flat = np.ascontiguousarray(samples, dtype="<i4").reshape(-1)
    if container_bytes == 1:
        return (flat >> 24).astype(np.int8).view(np.uint8) ^ np.uint8(0x80)
    if container_bytes == 2:
        return (flat >> 16).astype("<i2").view(np.uint8)
    if container_bytes == 3:
        return np.ascontiguousarray(flat.view(np.uint8).reshape(-1, 4)[:, 1:]).reshape(-1)
    return (flat & np.int32(-256)).view(np.uint8)
