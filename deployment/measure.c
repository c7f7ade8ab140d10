/* Reads images from standard input until its end, and writes the probabilities of each; the microseconds of an image
   go to standard error. With ENTRY it is the header in a function of that name. */
#include "mnist20k.h"
#ifdef ENTRY
int ENTRY(const uint8_t *pixels, float *probabilities) { return mnist20k_predict(pixels, probabilities); }
#else
#include <stdio.h>
#include <time.h>

int main(void)
{
    static uint8_t pixels[PIXELS];
    static float probabilities[CLASSES];
    clock_t ticks = 0;
    long images = 0;
    while (fread(pixels, 1, PIXELS, stdin) == PIXELS) {
        clock_t start = clock();
        mnist20k_predict(pixels, probabilities);
        ticks += clock() - start;
        images++;
        fwrite(probabilities, sizeof(float), CLASSES, stdout);
    }
    fprintf(stderr, "%f\n", 1e6 * (double)ticks / CLOCKS_PER_SEC / (double)images);
    return 0;
}
#endif
