"""Sums, scans and windows: reduce_variance, cumsum, maxpool2d, conv2d_depthwise."""

from __future__ import annotations

from kbexp.proposals.offline.playbook.entry import Entry, Tunable, wrong
from kbexp.proposals.offline.playbook.tunables import (
    BLOCK,
    BLOCK_THREADS,
    CHUNK,
    LANES,
    ROWS,
    STREAM,
    TRITON_BLOCK,
    UNROLL,
    WARPS,
    cpu,
    cuda,
    plain_torch,
    triton,
)

_BATCHES = Tunable("BATCHES", (1, 2, 4, 16))

REDUCE_VARIANCE = Entry(
    "reduce_variance",
    (
        cpu(
            "reduce_variance/sums.c",
            "Sums and squares of a block of columns in one pass, shifted by their first values.",
            BLOCK,
            slips=(
                wrong("squares_about_the_shift", " - rest * rest", ""),
                wrong("shift_left_out", "first[j] + rest", "rest"),
            ),
        ),
        cpu(
            "reduce_variance/two_pass.c",
            "A block of columns twice: their means, then the squares about them.",
            BLOCK,
            slips=(
                wrong("sample_variance", "squares[j] / length", "squares[j] / (length - 1)"),
                wrong(
                    "first_row_left_out",
                    "i = 0; i < length; i++)\n#pragma omp simd\n"
                    "      for (long j = 0; j < n; j++) mean",
                    "i = 1; i < length; i++)\n#pragma omp simd\n"
                    "      for (long j = 0; j < n; j++) mean",
                ),
            ),
        ),
        cpu(
            "reduce_variance/welford.c",
            "Welford's running mean and variance in registers.",
            LANES,
            UNROLL,
            slips=(
                wrong(
                    "halves_swapped",
                    "float *means = out, *variances = out",
                    "float *variances = out, *means = out",
                ),
                wrong("batch_0_everywhere", "first = x + b * length * features", "first = x"),
            ),
        ),
        plain_torch(
            "reduce_variance/moments_torch.py.in",
            "Means, then squares of the centred values in place, some batches at a time.",
            _BATCHES,
            slips=(wrong("not_centred", "part - mean.unsqueeze(1)", "part + mean.unsqueeze(1)"),),
        ),
        plain_torch(
            "reduce_variance/product_torch.py.in",
            "Both sums as products with a row of ones.",
            slips=(wrong("squares_about_the_shift", "second - first.square()", "second"),),
        ),
        cuda(
            "reduce_variance/columns.cu",
            "32 columns a block of threads, which share them and add up in shared memory.",
            Tunable("WAYS", (1, 4, 8, 16, 32)),
            slips=(wrong("shift_left_out", "= shift + rest", "= rest"),),
        ),
        triton(
            "reduce_variance/columns_triton.py.in",
            "A tile of columns a program, a few rows at a time.",
            Tunable("COLUMNS", (16, 32, 64, 128)),
            Tunable("DEPTH", (4, 8, 16, 32)),
            WARPS,
            slips=(wrong("squares_about_the_shift", " - rest * rest", ""),),
        ),
    ),
)

CUMSUM = Entry(
    "cumsum",
    (
        cpu(
            "cumsum/rows_together.c",
            "Several rows side by side, so that no addition waits for the one before.",
            Tunable("ROWS", (1, 2, 4, 8, 16)),
            slips=(
                wrong(
                    "exclusive",
                    "          sum[i] += src[i * cols + j];\n          dst[i * cols + j] = sum[i];",
                    "          dst[i * cols + j] = sum[i];\n          sum[i] += src[i * cols + j];",
                ),
                wrong("last_group_left_out", "g < groups", "g < groups - 1"),
            ),
        ),
        cpu(
            "cumsum/register_scan.c",
            "Shift-and-add within a vector, and the sum before it carried on.",
            LANES,
            CHUNK,
            STREAM,
            slips=(
                wrong("carry_left_out", "scan(load(row + j)) + carry", "scan(load(row + j))"),
                wrong("one_step_short", "step < LANES; step", "step < LANES / 2; step"),
            ),
        ),
        cpu(
            "cumsum/serial.c",
            "One addition after the other, rows spread over the threads.",
            CHUNK,
            slips=(wrong("first_left_out", "long j = 0;", "long j = 1;"),),
        ),
        plain_torch(
            "cumsum/triangle_torch.py.in",
            "Blocks of a row times a triangle of ones, then the sums before each block.",
            Tunable("WIDTH", (16, 32, 64, 128)),
            slips=(wrong("lower_triangle", ".triu()", ".tril()"),),
        ),
        plain_torch(
            "cumsum/transposed_torch.py.in",
            "Blocks of rows, transposed, so that the sums run along columns.",
            ROWS,
            slips=(wrong("other_dimension", "dim=0", "dim=1"),),
        ),
        cuda(
            "cumsum/block_scan.cu",
            "One block of threads a row: shuffles within a warp, sums of warps in shared memory.",
            BLOCK_THREADS,
            slips=(wrong("exclusive", "carry + before + v", "carry + before"),),
        ),
        triton(
            "cumsum/rows_triton.py.in",
            "One program a row, scanned in registers.",
            WARPS,
            slips=(wrong("plain_sum", "tl.cumsum(x, axis=0)", "x + tl.sum(x, axis=0)"),),
        ),
    ),
)

MAXPOOL2D = Entry(
    "maxpool2d",
    (
        cpu(
            "maxpool2d/separable.c",
            "The largest of the window's rows first, then along the row that comes of it.",
            CHUNK,
            slips=(
                wrong("padding_of_zero", "padded[j] = -FLT_MAX", "padded[j] = 0.0f"),
                wrong("narrow_window", "long k = 1; k < kernel", "long k = 1; k < kernel - 1"),
            ),
        ),
        cpu(
            "maxpool2d/inner_and_edge.c",
            "Windows inside without a test, those at the edge one by one.",
            CHUNK,
            slips=(
                wrong("no_padding", "plane + y * width + k - padding", "plane + y * width + k"),
                wrong("narrow_window", "k = 0; k < kernel", "k = 0; k < kernel - 1"),
            ),
        ),
        cpu(
            "maxpool2d/direct.c",
            "Every output looks at its whole window.",
            CHUNK,
            slips=(
                wrong("starts_at_zero", "best = -FLT_MAX", "best = 0.0f"),
                wrong("stride_left_out", "ox * stride - padding", "ox - padding"),
            ),
        ),
        plain_torch(
            "maxpool2d/separable_torch.py.in",
            "Maxima of shifted slices, rows first and then columns.",
            slips=(wrong("padding_of_zero", 'value=float("-inf")', "value=0.0"),),
        ),
        plain_torch(
            "maxpool2d/channels_last_torch.py.in",
            "The library's pooling with the channels last.",
            slips=(wrong("average", "F.max_pool2d", "F.avg_pool2d"),),
        ),
        cuda(
            "maxpool2d/outputs.cu",
            "One thread an output, the window unrolled.",
            BLOCK_THREADS,
            slips=(wrong("starts_at_zero", "best = -3.4e38f", "best = 0.0f"),),
        ),
        triton(
            "maxpool2d/outputs_triton.py.in",
            "A block of outputs a program, the window unrolled.",
            TRITON_BLOCK,
            WARPS,
            slips=(
                wrong(
                    "padding_of_zero", 'mask=inside, other=-float("inf")', "mask=inside, other=0.0"
                ),
            ),
        ),
    ),
)

CONV2D_DEPTHWISE = Entry(
    "conv2d_depthwise",
    (
        cpu(
            "conv2d_depthwise/padded.c",
            "A plane is copied into a frame of zeros, so that no window needs a test.",
            CHUNK,
            slips=(
                wrong("bias_left_out", "float sum = bias;", "float sum = 0.0f;"),
                wrong("transposed", "weight[ky * kernel + kx]", "weight[kx * kernel + ky]"),
            ),
        ),
        cpu(
            "conv2d_depthwise/taps.c",
            "One tap at a time along a line of output.",
            CHUNK,
            STREAM,
            slips=(
                wrong("edge_left_out", "shift < 0 ? -shift : 0", "padding"),
                wrong("weights_of_channel_0", "weight + p % channels * kernel * kernel", "weight"),
            ),
        ),
        cpu(
            "conv2d_depthwise/lines_together.c",
            "Several lines of output in registers: a line of input is loaded once for them all.",
            CHUNK,
            Tunable("LANES", (4, 8, 16)),
            Tunable("LINES", (1, 2, 4, 8)),
            slips=(
                wrong("bias_left_out", "(vec){} + bias", "(vec){}"),
                wrong("transposed", "(y - i) * kernel + kx", "kx * kernel + y - i"),
            ),
        ),
        plain_torch(
            "conv2d_depthwise/shifts_torch.py.in",
            "Shifted slices times one weight each, added in place.",
            _BATCHES,
            slips=(wrong("transposed", "[:, 0, ky, kx]", "[:, 0, kx, ky]"),),
        ),
        plain_torch(
            "conv2d_depthwise/channels_last_torch.py.in",
            "The library's convolution with the channels last.",
            slips=(wrong("doubled", "self.conv(x)", "self.conv(x + x)"),),
        ),
        cuda(
            "conv2d_depthwise/outputs.cu",
            "One thread an output, the window unrolled.",
            BLOCK_THREADS,
            slips=(wrong("bias_left_out", "bias[p % channels]", "0.0f"),),
        ),
        triton(
            "conv2d_depthwise/outputs_triton.py.in",
            "A block of outputs of one plane a program, the window unrolled.",
            TRITON_BLOCK,
            WARPS,
            slips=(wrong("weights_of_channel_0", "(channel * SIDE + ky)", "ky"),),
        ),
    ),
)

ENTRIES = (REDUCE_VARIANCE, CUMSUM, MAXPOOL2D, CONV2D_DEPTHWISE)
