#!/bin/sh
# Makes speech.wav. Needs espeak-ng and a Python with soundfile and soxr (pip install "codecrig[resample]").
set -eu
cd "$(dirname "$0")"
raw=$(mktemp --suffix=.wav)
trap 'rm -f "$raw"' EXIT
espeak-ng -v en-gb -s 172 -a 140 -w "$raw" "This sentence goes out over USB, and comes back frame by frame."
python3 - "$raw" <<'PYTHON'
import sys

import numpy as np
import soundfile
import soxr

samples, rate = soundfile.read(sys.argv[1])
samples = soxr.resample(samples, rate, 48000, quality="VHQ")
loud = np.flatnonzero(np.abs(samples) > 0.002)
samples = samples[max(0, loud[0] - 480) : loud[-1] + 2400]
samples *= 0.7 / np.max(np.abs(samples))
soundfile.write("speech.wav", np.round(samples * 32767).astype(np.int16), 48000, subtype="PCM_16")
print(f"speech.wav: {len(samples) / 48000:.2f} s")
PYTHON
