/* What a Cortex-M needs before main() in qemu: its first stack pointer, and where to start. A board has its own. */
#include <stdint.h>

extern char stack_top; /* cortex_m.ld */
void _start(void);     /* newlib's */
static void reset(void);

__attribute__((section(".vectors"), used)) static const struct {
    char *stack;
    void (*start)(void);
} vectors = {&stack_top, reset};

static void reset(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF << 20; /* CPACR: the floating-point unit is on */
    __asm__ volatile("dsb\n isb");
#endif
    _start();
}
