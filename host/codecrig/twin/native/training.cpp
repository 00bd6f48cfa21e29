// What builder.py runs to learn which way the model's branches usually go (profile-guided optimisation).
#include "hardware.h"

int main() { return twin::Hardware::exercise(1200000) > 4000 ? 0 : 1; }
