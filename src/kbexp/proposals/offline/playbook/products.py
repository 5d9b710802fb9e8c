"""Matrix products: matmul_square, matmul_tall_skinny, matmul_bias_gelu, attention."""

from __future__ import annotations

from kbexp.proposals.offline.playbook.entry import Entry, Tunable, Variant, wrong
from kbexp.proposals.offline.playbook.tunables import (
    CHUNK,
    EXP_DEGREE,
    REUSE,
    ROWS,
    WARPS,
    cpu,
    cuda,
    plain_torch,
    triton,
)

_LANES = Tunable("LANES", (4, 8, 16))
_REGISTER_ROWS = Tunable("ROWS", (2, 4, 6, 8, 12))
_REGISTER_COLUMNS = Tunable("COLUMNS", (1, 2, 4))
_TILE = Tunable("TILE", (24, 48, 96, 192))
_GROUP = Tunable("GROUP", (1, 2, 4, 8, 16))
_WIDE_BLOCK = Tunable("BLOCK", (16, 64, 256, 1024))

_CUDA_TILES = (
    Tunable("SIDE", (32, 64, 128)),
    Tunable("EACH", (4, 8)),
    Tunable("DEPTH", (8, 16, 32)),
)
_TRITON_TILES = (
    Tunable("ROWS", (16, 32, 64, 128)),
    Tunable("COLUMNS", (16, 32, 64, 128)),
    Tunable("DEPTH", (16, 32, 64)),
    Tunable("STAGES", (2, 3, 4)),
    WARPS,
)


def _product_variants() -> tuple[Variant, ...]:
    return _on_the_processor() + _of_the_library() + _on_the_device()


def _on_the_processor() -> tuple[Variant, ...]:
    return (
        cpu(
            "matmul/register_block.cpp",
            "A packed right side, and a block of results held in registers.",
            _LANES,
            _REGISTER_ROWS,
            _REGISTER_COLUMNS,
            _TILE,
            slips=(
                wrong(
                    "first_of_depth_left_out",
                    "long k = 0; k < depth; k++) {\n    vec right",
                    "long k = 1; k < depth; k++) {\n    vec right",
                ),
                wrong("last_tile_left_out", "t < tiles", "t < tiles - 1"),
            ),
        ),
        cpu(
            "matmul/matrix_unit.cpp",
            "The processor's matrix unit on numbers split into two bfloat16 halves.",
            _GROUP,
            slips=(
                wrong(
                    "one_half_only",
                    "a, b = a.contiguous(),",
                    "a, b = a.contiguous().bfloat16().float(),",
                ),
            ),
        ),
        cpu(
            "matmul/row_times_matrix.c",
            "A row of results at a time: rows of the right side, scaled and added up.",
            CHUNK,
            _WIDE_BLOCK,
            slips=(
                wrong("first_of_depth_left_out", "long k = 0;", "long k = 1;"),
                wrong("last_row_left_out", "r < rows; r++", "r < rows - 1; r++"),
            ),
        ),
    )


def _of_the_library() -> tuple[Variant, ...]:
    return (
        plain_torch(
            "matmul/out_torch.py.in",
            "The library's product into a buffer that is held.",
            REUSE,
            slips=(wrong("doubled", "torch.matmul(a, b,", "torch.matmul(a, b + b,"),),
        ),
        plain_torch(
            "matmul/row_blocks_torch.py.in",
            "The library's product on blocks of rows.",
            Tunable("ROWS", (64, 256, 1024, 4096, 16384)),
            slips=(
                wrong(
                    "bfloat16",
                    "torch.mm(a[start : start + ROWS], b,",
                    "torch.mm(a[start : start + ROWS].bfloat16().float(), b,",
                ),
            ),
        ),
    )


def _on_the_device() -> tuple[Variant, ...]:
    return (
        cuda(
            "matmul/tiles.cu",
            "Tiles through shared memory, a block of results a thread.",
            *_CUDA_TILES,
            slips=(wrong("result_scaled", "return v;", "return v * 1.01f;"),),
        ),
        triton(
            "matmul/tiles_triton.py.in",
            "Tiles of float32 products.",
            *_TRITON_TILES,
            slips=(wrong("result_scaled", "c[None, :], total", "c[None, :], total * 1.01"),),
        ),
        triton(
            "matmul/tiles_split_triton.py.in",
            "Tiles of products on the tensor cores, each number split in three.",
            *_TRITON_TILES,
            slips=(
                wrong(
                    "low_precision",
                    'left, right, total, input_precision="tf32x3"',
                    "left.to(tl.float16), right.to(tl.float16), total",
                ),
            ),
        ),
    )


MATMUL_SQUARE = Entry("matmul_square", _product_variants())
MATMUL_TALL_SKINNY = Entry("matmul_tall_skinny", _product_variants())

MATMUL_BIAS_GELU = Entry(
    "matmul_bias_gelu",
    (
        cpu(
            "matmul_bias_gelu/register_block.cpp",
            "A block of results in registers; bias, GELU and scale before it is stored.",
            _LANES,
            _REGISTER_ROWS,
            _REGISTER_COLUMNS,
            _TILE,
            EXP_DEGREE,
            slips=(
                wrong("bias_left_out", "gelu(v + bias[j])", "gelu(v)"),
                wrong("scale_left_out", "return scale * gelu", "return gelu"),
            ),
        ),
        cpu(
            "matmul_bias_gelu/matrix_unit.cpp",
            "The processor's matrix unit on numbers split into two bfloat16 halves, then GELU.",
            _GROUP,
            EXP_DEGREE,
            slips=(
                wrong("one_half_only", "x.contiguous()", "x.contiguous().bfloat16().float()"),
                wrong("scale_of_another", "self.scale = scale", "self.scale = scale * 1.01"),
            ),
        ),
        cpu(
            "matmul_bias_gelu/row_by_row.c",
            "A row of results at a time, finished before it is stored.",
            CHUNK,
            _WIDE_BLOCK,
            EXP_DEGREE,
            slips=(
                wrong("bias_left_out", "gelu(sum[j] + bias[start + j])", "gelu(sum[j])"),
                wrong("last_row_left_out", "r < rows; r++", "r < rows - 1; r++"),
            ),
        ),
        plain_torch(
            "matmul_bias_gelu/row_blocks_torch.py.in",
            "Blocks of rows, so that GELU finds its numbers in the cache.",
            ROWS,
            slips=(wrong("approximated", "F.gelu(part)", 'F.gelu(part, approximate="tanh")'),),
        ),
        plain_torch(
            "matmul_bias_gelu/in_place_torch.py.in",
            "GELU and scale in place.",
            slips=(wrong("scale_left_out", "y.mul_(self.scale)", "y"),),
        ),
        cuda(
            "matmul_bias_gelu/tiles.cu",
            "Tiles through shared memory; bias, GELU and scale before the result is stored.",
            *_CUDA_TILES,
            slips=(wrong("bias_left_out", "v += bias[j];", ""),),
        ),
        triton(
            "matmul_bias_gelu/tiles_triton.py.in",
            "Tiles of products on the tensor cores; bias, GELU and scale before storing.",
            *_TRITON_TILES,
            slips=(wrong("scale_left_out", "0.5 * scale * total", "0.5 * total"),),
        ),
    ),
)

ATTENTION = Entry(
    "attention",
    (
        cpu(
            "attention/register_block.c",
            "Several queries at a time, scores and results in registers.",
            _LANES,
            Tunable("ROWS", (2, 4, 6, 8)),
            _REGISTER_COLUMNS,
            EXP_DEGREE,
            slips=(
                wrong("scale_left_out", "* dim + e] * scale", "* dim + e]"),
                wrong("looks_ahead", "long n = first + i + 1;", "long n = reach;"),
            ),
        ),
        cpu(
            "attention/row_by_row.c",
            "One query at a time over the keys up to its own.",
            EXP_DEGREE,
            slips=(
                wrong("own_key_left_out", "long n = i + 1;", "long n = i > 0 ? i : 1;"),
                wrong("scale_left_out", "query[d] * scale", "query[d]"),
            ),
        ),
        cpu(
            "attention/online.c",
            "One query at a time, blocks of keys, maximum and sum run along.",
            EXP_DEGREE,
            Tunable("KEYS", (16, 32, 64, 128)),
            slips=(
                wrong("scale_left_out", "score * scale", "score"),
                wrong(
                    "looks_ahead", "i + 1 - start < KEYS ? i + 1", "length - start < KEYS ? length"
                ),
            ),
        ),
        plain_torch(
            "attention/library_torch.py.in",
            "The library's fused attention.",
            slips=(wrong("not_causal", "is_causal=True", "is_causal=False"),),
        ),
        plain_torch(
            "attention/query_blocks_torch.py.in",
            "Blocks of queries, each with the keys up to its last.",
            Tunable("ROWS", (16, 32, 64, 128, 256)),
            slips=(wrong("looks_ahead", ".triu(start + 1)", ".triu(start + 2)"),),
        ),
        cuda(
            "attention/query_thread.cu",
            "One thread a query, keys and values through shared memory.",
            Tunable("BLOCK", (32, 64, 128, 256)),
            Tunable("KEYS", (8, 16, 32)),
            slips=(wrong("sum_not_rescaled", "sum *= rescale;", ""),),
        ),
        triton(
            "attention/online_triton.py.in",
            "A block of queries a program, maximum and sum run along.",
            Tunable("ROWS", (16, 32, 64)),
            Tunable("KEYS", (16, 32, 64)),
            Tunable("WARPS", (2, 4, 8)),
            slips=(
                wrong("looks_ahead", "j[None, :] <= i[:, None]", "j[None, :] <= i[:, None] + 1"),
            ),
        ),
    ),
)

ENTRIES = (MATMUL_SQUARE, MATMUL_TALL_SKINNY, MATMUL_BIAS_GELU, ATTENTION)
