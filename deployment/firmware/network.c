/* The network, compiled once: its constants lie here alone. */
#include "mnist20k.h"

int predict(const uint8_t *pixels, float *probabilities);

int predict(const uint8_t *pixels, float *probabilities) { return mnist20k_predict(pixels, probabilities); }
