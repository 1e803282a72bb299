/* A kernel written by hand against the C ABI, for tests of the runtime and of packaging.

   rank m; rank n <= 1000; rank g = 2; rank h = (m, g)
   param scale: f32 = 1 / |n|; param w: i32, fixed at 3; param flip: bool
   input A[m, n]: f32; input B[m, n]: f32; input Z[g]: bool
   output C[m, n]: f32 = if flip then -(scale * A + B) else scale * A + B
   output T[m + 1]: f64, the prefix sums of the rows of C, from 0
   output H[h]: i32 = if Z then h else -1

   Stage 0 has a task for each row and computes C and its row sums in the workspace; stage 1 has one for
   each row and one more, and writes the outputs. */
#include <stdint.h>

enum { DONE, NULL_POINTER, BAD_EXTENT, EXTENTS_DISAGREE, OVERLAP, BAD_WORKSPACE, NO_SUCH_TASK, TOO_LARGE, MISALIGNED };
enum { TENSORS = 6 };

typedef struct {
    int64_t m, n;
    double scale;
    int64_t flip;
    const float *A; int64_t sA[2];
    const float *B; int64_t sB[2];
    const uint8_t *Z; int64_t sZ[1];
    float *C; int64_t sC[2];
    double *T; int64_t sT[1];
    int32_t *H; int64_t sH[1];
} args;

static int32_t status(int32_t code, uint32_t index) { return code | (int32_t)(index << 8); }

int32_t attnc_axpy_bind(args *a, const uint8_t *given, int64_t *extents) {
    if (a->m < 0) return status(BAD_EXTENT, 0);
    if (a->n < 0 || a->n > 1000) return status(BAD_EXTENT, 1);
    if (a->m == 13) return status(EXTENTS_DISAGREE, 0);
    if (a->m > INT64_MAX / 2) return status(TOO_LARGE, 5);
    if (given && !given[0]) a->scale = 1.0 / (double)a->n;
    if (extents) extents[0] = a->m, extents[1] = a->n, extents[2] = 2, extents[3] = 2 * a->m;
    return DONE;
}

uint64_t attnc_axpy_workspace(const args *a, uint32_t threads) {
    (void)threads;
    uint64_t row = 4 * (uint64_t)a->n + 8, bytes;
    return __builtin_mul_overflow(row, (uint64_t)a->m, &bytes) ? UINT64_MAX : bytes;
}

typedef struct { int64_t size, dims, extents[2]; const int64_t *strides; const char *data; } tensor;

static tensor at(const args *a, uint32_t index) {
    switch (index) {
        case 0: return (tensor){4, 2, {a->m, a->n}, a->sA, (const char *)a->A};
        case 1: return (tensor){4, 2, {a->m, a->n}, a->sB, (const char *)a->B};
        case 2: return (tensor){1, 1, {2}, a->sZ, (const char *)a->Z};
        case 3: return (tensor){4, 2, {a->m, a->n}, a->sC, (const char *)a->C};
        case 4: return (tensor){8, 1, {a->m + 1}, a->sT, (const char *)a->T};
        default: return (tensor){4, 1, {2 * a->m}, a->sH, (const char *)a->H};
    }
}

static int empty(const tensor *t) {
    for (int64_t i = 0; i < t->dims; i++) if (t->extents[i] == 0) return 1;
    return 0;
}

static void range(const tensor *t, const char **low, const char **high) {
    *low = t->data, *high = t->data + t->size;
    for (int64_t i = 0; i < t->dims; i++) {
        int64_t reach = (t->extents[i] - 1) * t->strides[i] * t->size;
        if (reach < 0) *low += reach; else *high += reach;
    }
}

int32_t attnc_axpy_check(const args *a, const void *workspace, uint64_t bytes, uint32_t threads) {
    int32_t bound = attnc_axpy_bind((args *)a, 0, 0);
    if (bound) return bound;
    uint64_t need = attnc_axpy_workspace(a, threads);
    if (need == UINT64_MAX) return status(TOO_LARGE, TENSORS);
    if (need && !workspace) return status(NULL_POINTER, TENSORS);
    if (bytes < need || (uintptr_t)workspace % 64) return BAD_WORKSPACE;
    for (uint32_t i = 0; i < TENSORS; i++) {
        tensor t = at(a, i);
        if (empty(&t)) continue;
        if (!t.data) return status(NULL_POINTER, i);
        if ((uintptr_t)t.data % (uintptr_t)t.size) return status(MISALIGNED, i);
        if (i < 3) continue;
        for (int64_t d = 0; d < t.dims; d++) if (t.strides[d] == 0 && t.extents[d] > 1) return status(OVERLAP, i);
        for (uint32_t j = 0; j < TENSORS; j++) {
            tensor u = at(a, j);
            const char *low, *high, *other_low, *other_high;
            if (j == i || empty(&u)) continue;
            range(&t, &low, &high), range(&u, &other_low, &other_high);
            if (low < other_high && other_low < high) return status(OVERLAP, i);
        }
    }
    return DONE;
}

uint64_t attnc_axpy_tasks(const args *a, uint32_t stage) {
    return stage == 0 ? (uint64_t)a->m : stage == 1 ? (uint64_t)a->m + 1 : 0;
}

static void compute(const args *a, double *sums, float *rows, int64_t i) {
    sums[i] = 0;
    for (int64_t j = 0; j < a->n; j++) {
        float x = (float)a->scale * a->A[i * a->sA[0] + j * a->sA[1]] + a->B[i * a->sB[0] + j * a->sB[1]];
        rows[i * a->n + j] = a->flip ? -x : x;
        sums[i] += rows[i * a->n + j];
    }
}

static void store(const args *a, const double *sums, const float *rows, int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < i; k++) sum += sums[k];
    a->T[i * a->sT[0]] = sum;
    if (i == a->m) return;
    for (int64_t j = 0; j < a->n; j++) a->C[i * a->sC[0] + j * a->sC[1]] = rows[i * a->n + j];
    for (int64_t g = 0; g < 2; g++) a->H[(2 * i + g) * a->sH[0]] = a->Z[g * a->sZ[0]] ? (int32_t)(2 * i + g) : -1;
}

int32_t attnc_axpy_run(const args *a, void *workspace, uint32_t thread, uint32_t stage, uint64_t first, uint64_t last) {
    (void)thread;
    if (stage > 1 || first > last || last > attnc_axpy_tasks(a, stage)) return NO_SUCH_TASK;
    double *sums = workspace;
    float *rows = (float *)(sums + a->m);
    for (uint64_t task = first; task < last; task++) {
        if (stage == 0) compute(a, sums, rows, (int64_t)task); else store(a, sums, rows, (int64_t)task);
    }
    return DONE;
}

int32_t attnc_axpy(const args *a, void *workspace, uint64_t bytes) {
    int32_t checked = attnc_axpy_check(a, workspace, bytes, 1);
    for (uint32_t stage = 0; !checked && stage < 2; stage++) {
        checked = attnc_axpy_run(a, workspace, 0, stage, 0, attnc_axpy_tasks(a, stage));
    }
    return checked;
}
