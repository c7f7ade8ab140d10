/* The self-test of the network: exit status 0 where it reads every image of digits.h rightly.

   With an argument it reads images from standard input until its end instead, and writes the probabilities of each to
   standard output: so make export verified it. The time per image goes to standard error. */
#include <stdio.h>
#include "digits.h"

int predict(const uint8_t pixels[PIXELS], float probabilities[CLASSES]); /* network.c */

#if defined __ARM_ARCH_PROFILE && __ARM_ARCH_PROFILE == 'M'
#define SYSTICK ((volatile uint32_t *)0xE000E010) /* control, reload, current: counts cycles down */
#ifndef PER_TICK                                  /* instructions, in qemu with -icount */
#define PER_TICK 1
#define UNIT "cycles, if fewer than 2^24"
#else
#define UNIT "instructions"
#endif
static void start(void) { SYSTICK[1] = 0xFFFFFF, SYSTICK[2] = 0, SYSTICK[0] = 5; }
static unsigned long elapsed(void) { return (unsigned long)(PER_TICK * (0xFFFFFF - SYSTICK[2])); }
#else
#include <time.h>
#define UNIT "microseconds"
static clock_t started;
static void start(void) { started = clock(); }
static unsigned long elapsed(void) { return (unsigned long)(1e6 * (double)(clock() - started) / CLOCKS_PER_SEC); }
#endif

int main(int count, char **arguments)
{
    static uint8_t pixels[PIXELS];
    static float probabilities[CLASSES];
    int right = 0, images = 0, is_stream = count > 1 && arguments[1][0];
    unsigned long spent = 0;
    while (is_stream ? fread(pixels, 1, PIXELS, stdin) == PIXELS : images < DIGITS) {
        int label;
        start();
        label = predict(is_stream ? pixels : digits[images].pixels, probabilities);
        spent += elapsed();
        if (is_stream)
            fwrite(probabilities, sizeof(float), CLASSES, stdout);
        else
            right += label == digits[images].label;
        images++;
    }
    fprintf(stderr, "%lu %s per image\n", images ? spent / (unsigned long)images : 0, UNIT);
    if (is_stream)
        return 0;
    printf("%d of %d\n", right, DIGITS);
    return right != DIGITS;
}
