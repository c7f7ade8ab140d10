/* A grey picture of one digit, brought to 28 x 28 as MNIST's digits were (LeCun et al., 1998): trimmed, the longer side
   scaled to 20 keeping the aspect, at full strength, and its centre of mass moved to the centre.

   fit(ink, width, height, pixels) takes width * height values row by row, 0 where there is no ink and 255 where there
   is most (dark strokes on light: 255 minus the grey levels, less the paper's), and returns 0 where there is no ink. Each
   side may have up to 4,096 pixels (700 where an int has 16 bits), each pixel of 28 x 28 becomes the mean of those
   that it covers. It takes 2 KiB of stack. */
#ifndef FIT_H
#define FIT_H
#include <stdint.h>

enum { FIT_SIDE = 28, FIT_BOX = 20, FIT_LEAST = 63 /* ink that is not trimmed away */ };

/* A side where the longer one becomes 20: at least 1, and of two that are as near the even one. */
static inline int fit_scaled(int side, int longer)
{
    int twice = 2 * FIT_BOX * side + longer, scaled = twice / (2 * longer);
    scaled -= scaled % 2 && twice % (2 * longer) == 0;
    return scaled ? scaled : 1;
}

/* How much of pixel `index` of `size` lies in pixel `place` of `count`, in parts of 1 / count. */
static inline uint32_t fit_overlap(int index, int size, int place, int count)
{
    int32_t start = (int32_t)index * count, end = start + count, from = (int32_t)place * size, to = from + size;
    start = start > from ? start : from;
    end = end < to ? end : to;
    return end > start ? (uint32_t)(end - start) : 0;
}

/* Where to begin so that the centre of mass, moment / mass, is at 14, and `size` pixels stay within 28: of two places
   that are as near the first one, as in pictures.py, where sums are rounded. */
static inline int fit_before(uint64_t moment, uint64_t mass, int size)
{
    uint64_t twice = (FIT_SIDE + 1) * mass - mass / 500;
    int before = twice < 2 * moment ? 0 : (int)((twice - 2 * moment) / (2 * mass));
    return before < FIT_SIDE - size ? before : FIT_SIDE - size;
}

static inline int fit(const uint8_t *ink, int width, int height, uint8_t pixels[FIT_SIDE * FIT_SIDE])
{
    uint32_t sums[(FIT_BOX + 1) * (FIT_BOX + 1)], most = 1;
    uint64_t mass = 0, across = 0, down = 0;
    int left = width, right = 0, top = height, bottom = 0, longer, columns, rows;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            if (ink[(int32_t)y * width + x] > FIT_LEAST) {
                left = x < left ? x : left;
                right = x >= right ? x + 1 : right;
                top = y < top ? y : top;
                bottom = y + 1;
            }
    if (!right)
        return 0;
    ink += (int32_t)top * width + left;
    columns = right - left, rows = bottom - top, longer = columns > rows ? columns : rows;
    if (longer < FIT_BOX - 1 || longer > FIT_BOX + 1) { /* within a pixel it is left as it is */
        columns = fit_scaled(columns, longer);
        rows = fit_scaled(rows, longer);
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            uint32_t sum = 0;
            for (int y = r * (bottom - top) / rows; y * rows < (r + 1) * (bottom - top); y++)
                for (int x = c * (right - left) / columns; x * columns < (c + 1) * (right - left); x++)
                    sum += ink[(int32_t)y * width + x] * fit_overlap(x, right - left, c, columns) *
                           fit_overlap(y, bottom - top, r, rows);
            sums[r * columns + c] = sum;
            most = sum > most ? sum : most;
            mass += sum, across += (uint64_t)sum * (uint32_t)c, down += (uint64_t)sum * (uint32_t)r;
        }
    for (int i = 0; i < FIT_SIDE * FIT_SIDE; i++)
        pixels[i] = 0;
    pixels += fit_before(down, mass, rows) * FIT_SIDE + fit_before(across, mass, columns);
    for (int i = 0; i < rows * columns; i++)
        pixels[i / columns * FIT_SIDE + i % columns] = (uint8_t)(((uint64_t)sums[i] * 255 + most / 2) / most);
    return 1;
}
#endif
