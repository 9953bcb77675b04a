/* Convolution (stride 1, no padding) + 2x2 max-pooling + optional relu, forward and backward, on one core.
 *
 * The lanes of a vector are samples: a tile holds LANES of them, batch last, so that every lane is in use whatever the
 * number of channels, and a network's numbers never depend on what else is computed. Tensors outside may have any strides.
 * Of the convolution's output only the pooled values are kept, and for each the place of the largest of its four (a byte).
 * Compiled twice, REAL being float and double.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define MAX_BLOCK 5 /* channels times four positions in registers */
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define MAX_BLOCK 2
#else
#define VECTOR_BYTES 16
#define MAX_BLOCK 5
#endif
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define NOTHING 4 /* place of a value that relu set to zero */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 49")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
typedef WHOLE mask __attribute__((vector_size(VECTOR_BYTES))); /* integers as long as REAL */
typedef uint8_t bytes __attribute__((vector_size(VECTOR_BYTES / sizeof(REAL))));

typedef struct {
    int64_t n, channels, height, width, outputs, size, relu;
} shape;

int sweep_lanes(void) { return LANES; }

INLINE vec select_lanes(mask where, vec yes, vec no) { return (vec)((where & (mask)yes) | (~where & (mask)no)); }

/* The larger of two and its place; `best` is kept where they are equal. A NaN wins and stays. */
INLINE void keep_larger(vec *best, mask *place, vec other, mask other_place) {
    const mask better = ~(mask)(other <= *best) & (mask)(*best == *best);
    *best = select_lanes(better, other, *best);
    *place = (better & other_place) | (~better & *place);
}

INLINE void keep_places(uint8_t *to, mask place) {
    const bytes narrow = __builtin_convertvector(place, bytes);
    memcpy(to, &narrow, LANES);
}

INLINE mask kept_places(const uint8_t *from) {
    bytes narrow;
    memcpy(&narrow, from, LANES);
    return __builtin_convertvector(narrow, mask);
}

/* Samples first .. first + LANES of a strided tensor (n, channels, height, width) as a tile; zeros beyond n. */
static void read_tile(REAL *tile, const REAL *from, const int64_t *stride, int64_t first, int64_t n, int64_t channels, int64_t height, int64_t width) {
    const int64_t count = n - first < LANES ? n - first : LANES;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t y = 0; y < height; y++) {
            const REAL *row = from + first * stride[0] + c * stride[1] + y * stride[2];
            REAL *to = tile + (c * height + y) * width * LANES;
            if (stride[0] == 1 && count == LANES) {
                for (int64_t x = 0; x < width; x++) memcpy(to + x * LANES, row + x * stride[3], VECTOR_BYTES);
            } else if (count == LANES) {
                for (int64_t x = 0; x < width; x++)
                    for (int64_t i = 0; i < LANES; i++) to[x * LANES + i] = row[i * stride[0] + x * stride[3]];
            } else {
                for (int64_t x = 0; x < width; x++)
                    for (int64_t i = 0; i < LANES; i++) to[x * LANES + i] = i < count ? row[i * stride[0] + x * stride[3]] : 0;
            }
        }
}

static void write_tile(REAL *to, const int64_t *stride, const REAL *tile, int64_t first, int64_t n, int64_t channels, int64_t pixels) {
    /* height and width of `to` are one dimension of stride[3] */
    const int64_t count = n - first < LANES ? n - first : LANES;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t p = 0; p < pixels; p++) {
            REAL *place = to + first * stride[0] + c * stride[1] + p * stride[3];
            const REAL *values = tile + (c * pixels + p) * LANES;
            if (stride[0] == 1) memcpy(place, values, count * sizeof(REAL));
            else
                for (int64_t i = 0; i < count; i++) place[i * stride[0]] = values[i];
        }
}

/* Pooled values of `block` output channels at one pooled pixel. */
INLINE void forward_pixel(const shape *s, const int size, const int block, const int keeps, const vec *x, const REAL *weight, const REAL *bias, int64_t py,
                          int64_t px, int64_t pixel, int64_t pixels, vec *pooled, uint8_t *places) {
    vec sums[MAX_BLOCK][4];
    UNROLL for (int o = 0; o < block; o++)
        UNROLL for (int q = 0; q < 4; q++) sums[o][q] = (vec){0} + bias[o];
    for (int64_t c = 0; c < s->channels; c++) {
        const vec *corner = x + (c * s->height + 2 * py) * s->width + 2 * px;
        const REAL *w = weight + c * size * size;
        for (int ky = 0; ky < size; ky++)
            UNROLL for (int kx = 0; kx < size; kx++) {
                const vec *at = corner + ky * s->width + kx;
                const vec x0 = at[0], x1 = at[1], x2 = at[s->width], x3 = at[s->width + 1];
                UNROLL for (int o = 0; o < block; o++) {
                    const REAL factor = w[o * s->channels * size * size + ky * size + kx];
                    sums[o][0] += factor * x0;
                    sums[o][1] += factor * x1;
                    sums[o][2] += factor * x2;
                    sums[o][3] += factor * x3;
                }
            }
    }
    UNROLL for (int o = 0; o < block; o++) {
        vec best = sums[o][0], low = sums[o][2];
        mask place = (mask){0}, low_place = (mask){0} + 2;
        keep_larger(&best, &place, sums[o][1], (mask){0} + 1);
        keep_larger(&low, &low_place, sums[o][3], (mask){0} + 3);
        keep_larger(&best, &place, low, low_place);
        if (s->relu) {
            const mask dead = (mask)(best <= 0);
            best = select_lanes(dead, (vec){0}, best);
            place = (dead & NOTHING) | (~dead & place);
        }
        pooled[o * pixels + pixel] = best;
        if (keeps) keep_places(places + (o * pixels + pixel) * LANES, place);
    }
}

INLINE void forward_tile(const shape *s, const int size, const int keeps, const vec *x, const REAL *weight, const REAL *bias, vec *pooled, uint8_t *places) {
    const int64_t rows = (s->height - size + 1) / 2, columns = (s->width - size + 1) / 2, pixels = rows * columns;
    const int64_t a_filter = s->channels * size * size;
    int64_t o = 0;
    while (o < s->outputs) {
        const int64_t left = s->outputs - o;
        const int block = left >= MAX_BLOCK ? MAX_BLOCK : 1;
        uint8_t *marks = keeps ? places + o * pixels * LANES : NULL;
        for (int64_t py = 0; py < rows; py++)
            for (int64_t px = 0; px < columns; px++) {
                const int64_t pixel = py * columns + px;
                if (block == MAX_BLOCK)
                    forward_pixel(s, size, MAX_BLOCK, keeps, x, weight + o * a_filter, bias + o, py, px, pixel, pixels, pooled + o * pixels, marks);
                else
                    forward_pixel(s, size, 1, keeps, x, weight + o * a_filter, bias + o, py, px, pixel, pixels, pooled + o * pixels, marks);
            }
        o += block;
    }
}

/* The gradient of one output channel's pooled values at their four places: lanes of zero but at the largest. Returns its sum. */
static vec spread(const vec *gradient, const uint8_t *places, int64_t pixels, vec *four) {
    vec totals[4] = {{0}};
    for (int64_t p = 0; p < pixels; p++) {
        const mask place = kept_places(places + p * LANES);
        UNROLL for (int q = 0; q < 4; q++) {
            four[4 * p + q] = (vec)((mask)(place == q) & (mask)gradient[p]);
            totals[q] += four[4 * p + q];
        }
    }
    return (totals[0] + totals[1]) + (totals[2] + totals[3]);
}

/* Sums over the tile's lanes stay apart: `sums` has shape (channels, size, size) of vectors, of one output channel. */
INLINE void weight_gradient(const shape *s, const int size, const vec *x, const vec *four, vec *sums) {
    const int64_t rows = (s->height - size + 1) / 2, columns = (s->width - size + 1) / 2;
    for (int64_t c = 0; c < s->channels; c++) {
        vec total[7 * 7];
        UNROLL for (int t = 0; t < size * size; t++) total[t] = sums[c * size * size + t];
        for (int64_t py = 0; py < rows; py++)
            for (int64_t px = 0; px < columns; px++) {
                const vec *corner = x + (c * s->height + 2 * py) * s->width + 2 * px;
                const vec *g = four + 4 * (py * columns + px);
                const vec g0 = g[0], g1 = g[1], g2 = g[2], g3 = g[3];
                UNROLL for (int r = 0; r <= size; r++)
                    UNROLL for (int t = 0; t <= size; t++) {
                        const vec value = corner[r * s->width + t];
                        if (r < size && t < size) total[r * size + t] += g0 * value;
                        if (r < size && t > 0) total[r * size + t - 1] += g1 * value;
                        if (r > 0 && t < size) total[(r - 1) * size + t] += g2 * value;
                        if (r > 0 && t > 0) total[(r - 1) * size + t - 1] += g3 * value;
                    }
            }
        UNROLL for (int t = 0; t < size * size; t++) sums[c * size * size + t] = total[t];
    }
}

/* `wide`: gradients at the convolution's outputs, (outputs, rows, columns + 2 (size - 1)), zeros left and right. */
INLINE void input_block(const shape *s, const int size, const int block, const vec *wide, const REAL *weight, int64_t first, vec *gradient) {
    const int64_t rows = s->height - size + 1, span = s->width + size - 1;
    for (int64_t y = 0; y < s->height; y++) {
        const int64_t low = y - rows + 1 > 0 ? y - rows + 1 : 0, high = y < size - 1 ? y : size - 1;
        for (int64_t x = 0; x < s->width; x += 4) {
            vec sums[MAX_BLOCK][4];
            for (int c = 0; c < block; c++)
                for (int j = 0; j < 4; j++) sums[c][j] = (vec){0};
            for (int64_t o = 0; o < s->outputs; o++)
                for (int64_t ky = low; ky <= high; ky++) {
                    const vec *row = wide + (o * rows + y - ky) * span + x;
                    const REAL *w = weight + ((o * s->channels + first) * size + ky) * size;
                    UNROLL for (int kx = 0; kx < size; kx++) {
                        const vec *at = row + size - 1 - kx;
                        const vec g0 = at[0], g1 = at[1], g2 = at[2], g3 = at[3]; /* beyond the row: read, not stored */
                        UNROLL for (int c = 0; c < block; c++) {
                            const REAL factor = w[c * size * size + kx];
                            sums[c][0] += factor * g0;
                            sums[c][1] += factor * g1;
                            sums[c][2] += factor * g2;
                            sums[c][3] += factor * g3;
                        }
                    }
                }
            for (int c = 0; c < block; c++)
                for (int j = 0; j < 4 && x + j < s->width; j++) gradient[((first + c) * s->height + y) * s->width + x + j] = sums[c][j];
        }
    }
}

INLINE void input_gradient(const shape *s, const int size, const vec *wide, const REAL *weight, vec *gradient) {
    int64_t c = 0;
    for (; c + MAX_BLOCK <= s->channels; c += MAX_BLOCK) input_block(s, size, MAX_BLOCK, wide, weight, c, gradient);
    for (; c < s->channels; c++) input_block(s, size, 1, wide, weight, c, gradient);
}

#define FOR_SIZE(call3, call5, call7) \
    switch (s->size) {                \
    case 3: call3; break;             \
    case 5: call5; break;             \
    default: call7;                   \
    }

static __attribute__((noinline)) void forward_any(const shape *s, const vec *x, const REAL *weight, const REAL *bias, vec *pooled, uint8_t *places) {
    if (places) {
        FOR_SIZE(forward_tile(s, 3, 1, x, weight, bias, pooled, places), forward_tile(s, 5, 1, x, weight, bias, pooled, places),
                 forward_tile(s, 7, 1, x, weight, bias, pooled, places))
    } else {
        FOR_SIZE(forward_tile(s, 3, 0, x, weight, bias, pooled, places), forward_tile(s, 5, 0, x, weight, bias, pooled, places),
                 forward_tile(s, 7, 0, x, weight, bias, pooled, places))
    }
}

static __attribute__((noinline)) void weight_gradient_any(const shape *s, const vec *x, const vec *four, vec *sums) {
    FOR_SIZE(weight_gradient(s, 3, x, four, sums), weight_gradient(s, 5, x, four, sums), weight_gradient(s, 7, x, four, sums))
}

static __attribute__((noinline)) void input_gradient_any(const shape *s, const vec *wide, const REAL *weight, vec *gradient) {
    FOR_SIZE(input_gradient(s, 3, wide, weight, gradient), input_gradient(s, 5, wide, weight, gradient), input_gradient(s, 7, wide, weight, gradient))
}

static void *vectors(int64_t n) { return aligned_alloc(64, ((size_t)n * sizeof(vec) + 63) / 64 * 64); }

/* Arguments: shape, tensors with strides in elements; weight (outputs, channels, size, size) and bias contiguous; places of
 * shape (tiles, outputs, pixels, LANES), or NULL where no backward pass follows. Returns 0, or 1 without memory. */
int sweep_forward(const shape *s, const REAL *x, const int64_t *x_stride, const REAL *weight, const REAL *bias, REAL *out,
                  const int64_t *out_stride, uint8_t *places) {
    const int64_t pixels = ((s->height - s->size + 1) / 2) * ((s->width - s->size + 1) / 2);
    vec *tile = vectors(s->channels * s->height * s->width), *pooled = vectors(s->outputs * pixels);
    const int failed = !tile || !pooled;
    for (int64_t first = 0, t = 0; !failed && first < s->n; first += LANES, t++) {
        read_tile((REAL *)tile, x, x_stride, first, s->n, s->channels, s->height, s->width);
        forward_any(s, tile, weight, bias, pooled, places ? places + t * s->outputs * pixels * LANES : NULL);
        write_tile(out, out_stride, (const REAL *)pooled, first, s->n, s->outputs, pixels);
    }
    free(tile);
    free(pooled);
    return failed;
}

/* Writes (not adds) the gradients of weight and bias, contiguous, and of x where x_gradient is not NULL. */
int sweep_backward(const shape *s, const REAL *x, const int64_t *x_stride, const REAL *weight, const REAL *gradient,
                   const int64_t *gradient_stride, const uint8_t *places, REAL *weight_gradient_out, REAL *bias_gradient, REAL *x_gradient,
                   const int64_t *x_gradient_stride) {
    const int64_t rows = (s->height - s->size + 1) / 2, columns = (s->width - s->size + 1) / 2, pixels = rows * columns;
    const int64_t a_filter = s->channels * s->size * s->size, area = s->channels * s->height * s->width;
    const int64_t conv_rows = s->height - s->size + 1, span = s->width + s->size - 1;
    const int64_t n_wide = x_gradient ? s->outputs * conv_rows * span + 4 : 0;
    vec *tile = vectors(area), *g = vectors(s->outputs * pixels), *four = vectors(4 * pixels), *sums = vectors(s->outputs * (a_filter + 1));
    vec *wide = vectors(n_wide + 1), *x_tile = vectors(x_gradient ? area : 1);
    const int failed = !tile || !g || !four || !sums || !wide || !x_tile;
    if (!failed) {
        memset(sums, 0, s->outputs * (a_filter + 1) * sizeof(vec));
        memset(wide, 0, n_wide * sizeof(vec));
    }
    for (int64_t first = 0, t = 0; !failed && first < s->n; first += LANES, t++) {
        read_tile((REAL *)tile, x, x_stride, first, s->n, s->channels, s->height, s->width);
        read_tile((REAL *)g, gradient, gradient_stride, first, s->n, s->outputs, rows, columns);
        for (int64_t o = 0; o < s->outputs; o++) {
            sums[o * (a_filter + 1) + a_filter] += spread(g + o * pixels, places + (t * s->outputs + o) * pixels * LANES, pixels, four);
            weight_gradient_any(s, tile, four, sums + o * (a_filter + 1));
            if (x_gradient)
                for (int64_t p = 0; p < pixels; p++)
                    for (int q = 0; q < 4; q++)
                        wide[(o * conv_rows + 2 * (p / columns) + q / 2) * span + s->size - 1 + 2 * (p % columns) + q % 2] = four[4 * p + q];
        }
        if (x_gradient) {
            input_gradient_any(s, wide, weight, x_tile);
            write_tile(x_gradient, x_gradient_stride, (const REAL *)x_tile, first, s->n, s->channels, s->height * s->width);
        }
    }
    for (int64_t o = 0; !failed && o < s->outputs; o++)
        for (int64_t i = 0; i <= a_filter; i++) {
            REAL total = 0;
            for (int lane = 0; lane < LANES; lane++) total += sums[o * (a_filter + 1) + i][lane];
            if (i < a_filter) weight_gradient_out[o * a_filter + i] = total;
            else bias_gradient[o] = total;
        }
    free(tile);
    free(g);
    free(four);
    free(sums);
    free(wide);
    free(x_tile);
    return failed;
}
