"""Tasks that reduce a row and then use it: softmax, layernorm, rmsnorm, cross_entropy."""

from __future__ import annotations

from kbexp.proposals.offline.playbook.entry import Entry, wrong
from kbexp.proposals.offline.playbook.tunables import (
    BLOCK,
    BLOCK_THREADS,
    CHUNK,
    EXP_DEGREE,
    LANES,
    REUSE,
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

_LAST_ROW = wrong("last_row_left_out", "r < rows; r++", "r < rows - 1; r++")

SOFTMAX = Entry(
    "softmax",
    (
        cpu(
            "softmax/three_pass.c",
            "Largest value, exponentials with their sum, scaling: three passes over a row.",
            EXP_DEGREE,
            CHUNK,
            slips=(
                wrong("scale_of_maximum", "1.0f / sum;", "1.0f / top;"),
                wrong("first_column_left_out", "0; j < cols; j++) dst", "1; j < cols; j++) dst"),
            ),
        ),
        cpu(
            "softmax/buffered.c",
            "Each row is finished in a small buffer and written once.",
            EXP_DEGREE,
            CHUNK,
            STREAM,
            slips=(wrong("sum_of_logits", "sum += e;", "sum += row[j];"), _LAST_ROW),
        ),
        cpu(
            "softmax/online.c",
            "Maximum and sum in one pass by blocks; a second pass takes the exponentials again.",
            EXP_DEGREE,
            CHUNK,
            STREAM,
            BLOCK,
            slips=(
                wrong("scale_of_maximum", "1.0f / sum;", "1.0f / top;"),
                wrong("sign_of_maximum", "row[start + j] - top", "row[start + j] + top"),
            ),
        ),
        plain_torch(
            "softmax/inplace_torch.py.in",
            "Blocks of rows through in-place operators, small enough to stay in the cache.",
            ROWS,
            REUSE,
            slips=(wrong("sum_over_rows", "part.sum(-1, ", "part.sum(0, "),),
        ),
        plain_torch(
            "softmax/library_torch.py.in",
            "The library's softmax into a buffer that is held.",
            REUSE,
            slips=(wrong("other_dimension", "dim=-1", "dim=0"),),
        ),
        cuda(
            "softmax/block_row.cu",
            "One block of threads a row, three readings of it.",
            BLOCK_THREADS,
            slips=(wrong("sum_of_one_thread", "1.0f / block_sum(sum)", "1.0f / sum"),),
        ),
        cuda(
            "softmax/online_row.cu",
            "One block of threads a row; maximum and sum run along together.",
            BLOCK_THREADS,
            slips=(wrong("own_sum_only", "block_sum(own_sum * __expf(own_top - top))", "own_sum"),),
        ),
        triton(
            "softmax/rows_triton.py.in",
            "One program a row, which is held in registers.",
            WARPS,
            slips=(wrong("no_sum", "y = e / tl.sum(e, axis=0)", "y = e"),),
        ),
    ),
)

_NO_ROOT = wrong("no_root", "1.0f / sqrtf(", "1.0f / (")

LAYERNORM = Entry(
    "layernorm",
    (
        cpu(
            "layernorm/two_pass.c",
            "The mean, then the squares about it, then one write of the row from a buffer.",
            CHUNK,
            STREAM,
            slips=(
                _NO_ROOT,
                wrong("bias_left_out", "* weight[j] + bias[j]", "* weight[j]"),
            ),
        ),
        cpu(
            "layernorm/one_pass.c",
            "Sum and sum of squares in one pass, shifted by the row's first value.",
            CHUNK,
            slips=(wrong("squares_about_the_shift", " - rest * rest", ""), _LAST_ROW),
        ),
        cpu(
            "layernorm/unrolled.c",
            "Vectors by hand with several sums at once.",
            CHUNK,
            LANES,
            UNROLL,
            slips=(
                wrong("mean_of_the_shifted", "rest + shift", "rest"),
                wrong("squares_about_the_shift", " - rest * rest", ""),
            ),
        ),
        plain_torch(
            "layernorm/blocks_torch.py.in",
            "The library's layer norm on blocks of rows, into a buffer that is held.",
            ROWS,
            REUSE,
            slips=(wrong("bias_left_out", "weight, bias, self", "weight, None, self"),),
        ),
        cuda(
            "layernorm/block_row.cu",
            "One block of threads a row, three readings of it.",
            BLOCK_THREADS,
            slips=(wrong("bias_left_out", "* weight[j] + bias[j]", "* weight[j]"),),
        ),
        triton(
            "layernorm/rows_triton.py.in",
            "One program a row, which is held in registers.",
            WARPS,
            slips=(wrong("mean_of_the_width", "tl.sum(x, axis=0) / cols", "tl.sum(x, axis=0)"),),
        ),
    ),
)

RMSNORM = Entry(
    "rmsnorm",
    (
        cpu(
            "rmsnorm/fused.c",
            "Squares, then the scaled row, with nothing in between.",
            CHUNK,
            slips=(_NO_ROOT, wrong("weight_left_out", "scale * weight[j]", "scale")),
        ),
        cpu(
            "rmsnorm/buffered.c",
            "The row is finished in a small buffer and written once.",
            CHUNK,
            STREAM,
            slips=(_LAST_ROW, wrong("sum_not_mean", "squares / cols", "squares")),
        ),
        cpu(
            "rmsnorm/unrolled.c",
            "Vectors by hand with several sums at once.",
            CHUNK,
            LANES,
            UNROLL,
            slips=(
                _NO_ROOT,
                wrong("sum_not_mean", "square / cols", "square"),
            ),
        ),
        plain_torch(
            "rmsnorm/fewer_passes_torch.py.in",
            "Blocks of rows: a vector norm, one product, the weight in place.",
            ROWS,
            REUSE,
            slips=(wrong("sum_not_mean", ".div_(x.shape[-1])", ""),),
        ),
        cuda(
            "rmsnorm/block_row.cu",
            "One block of threads a row, two readings of it.",
            BLOCK_THREADS,
            slips=(wrong("weight_left_out", "scale * weight[j]", "scale"),),
        ),
        triton(
            "rmsnorm/rows_triton.py.in",
            "One program a row, which is held in registers.",
            WARPS,
            slips=(wrong("sum_not_mean", "/ cols + eps", "+ eps"),),
        ),
    ),
)

CROSS_ENTROPY = Entry(
    "cross_entropy",
    (
        cpu(
            "cross_entropy/two_pass.c",
            "The largest logit, then the sum of exponentials while the row is in the cache.",
            EXP_DEGREE,
            CHUNK,
            slips=(
                wrong("maximum_left_out", "logf(sum) + top", "logf(sum)"),
                wrong("sign", "top - row[targets[r]]", "top + row[targets[r]]"),
            ),
        ),
        cpu(
            "cross_entropy/online.c",
            "Maximum and sum in one pass over blocks of classes.",
            EXP_DEGREE,
            CHUNK,
            BLOCK,
            slips=(
                wrong("maximum_left_out", "logf(sum) + top", "logf(sum)"),
                _LAST_ROW,
            ),
        ),
        cpu(
            "cross_entropy/block_sums.c",
            "Every block of classes has a maximum and a sum of its own, joined at the end.",
            EXP_DEGREE,
            CHUNK,
            BLOCK,
            slips=(
                wrong("maximum_left_out", "logf(sum) + top", "logf(sum)"),
                wrong("sign", "top - row[targets[r]]", "top + row[targets[r]]"),
            ),
        ),
        plain_torch(
            "cross_entropy/logsumexp_torch.py.in",
            "Blocks of rows: log-sum-exp in place, less the logit of the target.",
            ROWS,
            slips=(wrong("maximum_left_out", ".add_(top.squeeze(-1))", ""),),
        ),
        plain_torch(
            "cross_entropy/gather_torch.py.in",
            "The library's log-sum-exp, less the logit of the target.",
            slips=(wrong("sign", "total - picked", "total + picked"),),
        ),
        cuda(
            "cross_entropy/block_row.cu",
            "One block of threads a row and one reading of it.",
            BLOCK_THREADS,
            slips=(wrong("maximum_left_out", "logf(sum) + top", "logf(sum)"),),
        ),
        triton(
            "cross_entropy/rows_triton.py.in",
            "One program a row, a block of classes at a time.",
            TRITON_BLOCK,
            WARPS,
            slips=(wrong("maximum_left_out", "tl.log(total) + best", "tl.log(total)"),),
        ),
    ),
)

ENTRIES = (SOFTMAX, LAYERNORM, RMSNORM, CROSS_ENTROPY)
