"""Tasks bound by memory, element by element: swiglu, rope, matmul_diagonal, embedding_bag."""

from __future__ import annotations

from kbexp.proposals.offline.playbook.entry import Entry, Tunable, wrong
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

SWIGLU = Entry(
    "swiglu",
    (
        cpu(
            "swiglu/fused.c",
            "Gate and product in one loop over the row.",
            EXP_DEGREE,
            CHUNK,
            slips=(wrong("sign", "fast_exp(-gate[j])", "fast_exp(gate[j])"), _LAST_ROW),
        ),
        cpu(
            "swiglu/streamed.c",
            "A block of results is finished in a small buffer and written once.",
            EXP_DEGREE,
            CHUNK,
            BLOCK,
            STREAM,
            slips=(
                wrong("halves_swapped", "float g = gate[start + j]", "float g = up[start + j]"),
                wrong("gate_left_out", "buffer[j] = g * up", "buffer[j] = up"),
            ),
        ),
        cpu(
            "swiglu/flat.c",
            "One loop over all pieces of all rows, cut evenly among the threads.",
            EXP_DEGREE,
            BLOCK,
            slips=(
                wrong("gate_left_out", "gate[j] * sigmoid * up[j]", "sigmoid * up[j]"),
                wrong("last_piece_left_out", "p < rows * pieces", "p < rows * pieces - 1"),
            ),
        ),
        plain_torch(
            "swiglu/blocks_torch.py.in",
            "Blocks of rows, small enough to stay in the cache, into a buffer that is held.",
            ROWS,
            REUSE,
            slips=(wrong("halves_swapped", "gate, up = x", "up, gate = x"),),
        ),
        plain_torch(
            "swiglu/glu_torch.py.in",
            "The library's gated linear unit, with the gate multiplied once more.",
            slips=(wrong("gate_left_out", ".mul_(gate)", ""),),
        ),
        cuda(
            "swiglu/elements.cu",
            "A thread a few results.",
            BLOCK_THREADS,
            Tunable("ITEMS", (1, 2, 4, 8)),
            slips=(wrong("sign", "__expf(-gate[j])", "__expf(gate[j])"),),
        ),
        triton(
            "swiglu/elements_triton.py.in",
            "A block of results a program.",
            TRITON_BLOCK,
            WARPS,
            slips=(
                wrong("gate_left_out", "gate * tl.sigmoid(gate) * up", "tl.sigmoid(gate) * up"),
            ),
        ),
    ),
)

ROPE = Entry(
    "rope",
    (
        cpu(
            "rope/rows.c",
            "Both halves of a row, one after the other.",
            slips=(
                wrong("sign", "row[j] * c[j] - row[j + half]", "row[j] * c[j] + row[j + half]"),
                wrong("angle_of_position_0", "cosine + r % length * dim", "cosine"),
            ),
        ),
        cpu(
            "rope/pairs.c",
            "Both numbers of a pair at once, vectors by hand.",
            LANES,
            CHUNK,
            slips=(
                wrong("angle_of_position_0", "*c = cosine + i * dim", "*c = cosine"),
                wrong("sine_is_cosine", "*s = sine + i * dim", "*s = cosine + i * dim"),
            ),
        ),
        cpu(
            "rope/by_position.c",
            "A block of positions of all heads in turn, so that the angles stay in the cache.",
            Tunable("BLOCK", (1, 4, 16, 64)),
            STREAM,
            slips=(
                wrong("sign", "row[j] * c[j] - row[j + half]", "row[j] * c[j] + row[j + half]"),
                wrong("last_head_left_out", "h < heads; h++", "h < heads - 1; h++"),
            ),
        ),
        plain_torch(
            "rope/halves_torch.py.in",
            "One product and two fused additions, with no copy of the rotated halves.",
            REUSE,
            slips=(wrong("sign", ", value=-1.0", ""),),
        ),
        plain_torch(
            "rope/complex_torch.py.in",
            "Pairs as complex numbers, turned by one product.",
            slips=(wrong("conjugate", "self.sin[:, :half])", "-self.sin[:, :half])"),),
        ),
        cuda(
            "rope/pairs_of_a_row.cu",
            "One thread a pair.",
            BLOCK_THREADS,
            slips=(wrong("sign", "a * c[j] - b * s[j]", "a * c[j] + b * s[j]"),),
        ),
        triton(
            "rope/pairs_of_a_row_triton.py.in",
            "One program a row.",
            WARPS,
            slips=(wrong("angle_not_advanced", "angle = r % length * 2", "angle = r * 0"),),
        ),
    ),
)

MATMUL_DIAGONAL = Entry(
    "matmul_diagonal",
    (
        cpu(
            "matmul_diagonal/scale_rows.c",
            "A diagonal matrix scales rows; there is nothing to add up.",
            CHUNK,
            slips=(wrong("scale_of_row_0", "float scale = a[r]", "float scale = a[0]"), _LAST_ROW),
        ),
        cpu(
            "matmul_diagonal/vectors.c",
            "Rows scaled by hand, several vectors at a time.",
            LANES,
            UNROLL,
            slips=(wrong("row_0_everywhere", "row = b + r * cols", "row = b"), _LAST_ROW),
        ),
        cpu(
            "matmul_diagonal/product.c",
            "The whole product row by row, zeros and all.",
            slips=(wrong("overwritten", "+= factor", "= factor"), _LAST_ROW),
        ),
        plain_torch(
            "matmul_diagonal/broadcast_torch.py.in",
            "A broadcast product in place of the matrix product.",
            REUSE,
            slips=(wrong("doubled", "a.unsqueeze(1)", "2 * a.unsqueeze(1)"),),
        ),
        plain_torch(
            "matmul_diagonal/sparse_torch.py.in",
            "The diagonal as a sparse matrix.",
            slips=(wrong("reversed", "places[:-1], a,", "places[:-1].flip(0), a,"),),
        ),
        cuda(
            "matmul_diagonal/row_blocks.cu",
            "One block of threads a row.",
            BLOCK_THREADS,
            slips=(wrong("scale_of_row_0", "a[blockIdx.x]", "a[0]"),),
        ),
        triton(
            "matmul_diagonal/blocks_triton.py.in",
            "A block of results a program.",
            TRITON_BLOCK,
            WARPS,
            slips=(wrong("column_of_the_diagonal", "a_ptr + i // cols", "a_ptr + i // cols * 0"),),
        ),
    ),
)

EMBEDDING_BAG = Entry(
    "embedding_bag",
    (
        cpu(
            "embedding_bag/accumulate.c",
            "Rows are added to the output one by one, those ahead already on their way.",
            CHUNK,
            Tunable("AHEAD", (0, 2, 4, 8, 16)),
            slips=(
                wrong("not_cleared", "dst[j] = 0.0f", "dst[j] = 1.0f"),
                wrong("last_of_bag_left_out", "i < size; i++", "i < size - 1; i++"),
            ),
        ),
        cpu(
            "embedding_bag/registers.c",
            "A part of the sum stays in registers while the rows of the bag go by.",
            CHUNK,
            LANES,
            UNROLL,
            Tunable("AHEAD", (0, 8, 16, 32, 64)),
            slips=(
                wrong("bags_overlap", "bag = indices + b * size", "bag = indices + b"),
                wrong("bag_0_everywhere", "bag = indices + b * size", "bag = indices"),
            ),
        ),
        cpu(
            "embedding_bag/copied_rows.c",
            "The rows of a bag are copied beside each other and then added column by column.",
            CHUNK,
            slips=(
                wrong("mean", "dst[j] = sum", "dst[j] = sum / size"),
                wrong("last_of_bag_left_out", "i < size; i++) sum", "i < size - 1; i++) sum"),
            ),
        ),
        plain_torch(
            "embedding_bag/library_torch.py.in",
            "The library's embedding bag, which keeps no copy of the rows.",
            slips=(wrong("mean", 'mode="sum"', 'mode="mean"'),),
        ),
        plain_torch(
            "embedding_bag/blocks_torch.py.in",
            "Blocks of bags, so that the copied rows stay in the cache.",
            ROWS,
            slips=(wrong("mean", "torch.sum(rows", "torch.mean(rows"),),
        ),
        cuda(
            "embedding_bag/block_bag.cu",
            "One warp a bag.",
            Tunable("BAGS", (1, 2, 4, 8, 16)),
            slips=(wrong("last_of_bag_left_out", "i < size; i++", "i < size - 1; i++"),),
        ),
        triton(
            "embedding_bag/bags_triton.py.in",
            "One program a bag.",
            WARPS,
            slips=(wrong("overwritten", "total += tl.load", "total = tl.load"),),
        ),
    ),
)

ENTRIES = (SWIGLU, ROPE, MATMUL_DIAGONAL, EMBEDDING_BAG)
