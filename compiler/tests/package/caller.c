#include <stdio.h>
#include <stdlib.h>
#include "axpy.h"

#if defined(__cplusplus)
#define CHECK_LAYOUT static_assert
#else
#define CHECK_LAYOUT _Static_assert
#endif
CHECK_LAYOUT(sizeof(attnc_axpy_args) == 19 * 8, "the words of the manifest");

int main(void) {
    float a[6] = {1, 2, 3, 4, 5, 6}, b = 10, c[6];
    uint8_t z[2] = {1, 0}, given[attnc_axpy_params] = {1, 0, 1};
    double t[4];
    int32_t h[6];
    int64_t extents[attnc_axpy_ranks];
    attnc_axpy_args args;
    args.m = 3, args.n = 2, args.scale = 0.5, args.flip = 0;
    args.A = a, args.A_stride[0] = 2, args.A_stride[1] = 1;
    args.B = &b, args.B_stride[0] = 0, args.B_stride[1] = 0;
    args.Z = z, args.Z_stride[0] = 1;
    args.C = c, args.C_stride[0] = 2, args.C_stride[1] = 1;
    args.T = t, args.T_stride[0] = 1;
    args.H = h, args.H_stride[0] = 1;
    if (attnc_axpy_bind(&args, given, extents) != ATTNC_DONE || extents[3] != 6) return 2;
    uint64_t bytes = attnc_axpy_workspace(&args, 1);
    void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
    int32_t status = attnc_axpy(&args, workspace, bytes - 1);
    if (ATTNC_CODE(status) != ATTNC_BAD_WORKSPACE) return 3;
    args.H = (int32_t *)c;
    status = attnc_axpy_check(&args, workspace, bytes, 1);
    if (ATTNC_CODE(status) != ATTNC_OVERLAP || ATTNC_INDEX(status) != 3) return 4;
    args.H = h;
    if (attnc_axpy(&args, workspace, bytes) != ATTNC_DONE) return 5;
    printf("%g %g %g %d\n", c[0], c[5], t[3], h[4]);
    free(workspace);
    return 0;
}
