"""The names that the tripwire knows: operators that compute, what tensors have, makers of kernels.

Operators are listed by what they are called in PyTorch 2.13 (functions of `torch` and methods of
tensors, one list for both). What only allocates, views, reshapes, copies, converts or asks is in
no list: it may surround a kernel of one's own. A name that a later version adds is not known.
"""

from __future__ import annotations

import re


def names(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


_POINTWISE = """
abs absolute acos acosh add addcdiv addcmul angle arccos arccosh arcsin arcsinh arctan arctan2
arctanh asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or
bitwise_right_shift bitwise_xor ceil celu clamp clamp_max clamp_min clip copysign cos cosh deg2rad
digamma div divide eq erf erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmax fmin
fmod frac frexp ge greater greater_equal gt hardshrink heaviside hypot i0 igamma igammac isclose
isfinite isin isinf isnan ldexp le lerp less less_equal lgamma log log10 log1p log2 logaddexp
logaddexp2 logical_and logical_not logical_or logical_xor logit lt masked_fill masked_scatter
masked_select maximum minimum mul multiply mvlgamma nan_to_num ne neg negative nextafter not_equal
polar polygamma positive pow prelu rad2deg reciprocal relu remainder round rrelu rsqrt rsub selu
sgn sigmoid sign signbit sin sinc sinh sqrt square sub subtract tan tanh threshold tril triu
true_divide trunc where xlogy gelu silu elu leaky_relu mish softplus softsign hardtanh relu6
hardswish hardsigmoid logsigmoid softshrink tanhshrink glu
"""

_REDUCE = """
all allclose amax amin aminmax any argmax argmin bincount count_nonzero cumsum cumprod cummax
cummin cumulative_trapezoid cosine_similarity dist equal fake_quantize_per_channel_affine
frobenius_norm histc histogram kthvalue logcumsumexp logsumexp log_softmax max mean median min mode
nanmean nanmedian nanquantile nansum norm nuclear_norm pdist cdist pairwise_distance prod quantile
renorm softmax softmin std std_mean sum sum_to_size trace trapezoid trapz var var_mean normalize
"""

_PRODUCT = """
addbmm addmm addmv addr baddbmm bilinear bmm chain_matmul cholesky cholesky_inverse cholesky_solve
corrcoef cov cross det diff dot dsmm eig einsum ger geqrf gradient hspmm inner inverse kron
linear lobpcg logdet lstsq lu lu_solve matmul matrix_exp matrix_power matrix_rank mm multi_dot mv
orgqr ormqr outer pca_lowrank pinverse qr saddmm scaled_dot_product_attention
multi_head_attention_forward slogdet smm solve spmm sspaddmm svd svd_lowrank tensordot
triangular_solve vander vdot addmm_activation scaled_mm int_mm grouped_mm
"""

_LAYER = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d batch_norm
binary_cross_entropy binary_cross_entropy_with_logits channel_shuffle conv1d conv2d conv3d conv_tbc
conv_transpose1d conv_transpose2d conv_transpose3d convolution cosine_embedding_loss cross_entropy
ctc_loss cudnn_convolution cudnn_batch_norm dropout embedding embedding_bag fold grid_sampler
grid_sample group_norm gru gru_cell hinge_embedding_loss huber_loss instance_norm interpolate
istft kl_div l1_loss layer_norm local_response_norm lp_pool1d lp_pool2d lstm lstm_cell
margin_ranking_loss max_pool1d max_pool2d max_pool3d max_pool1d_with_indices
max_pool2d_with_indices mse_loss native_batch_norm native_group_norm native_layer_norm nll_loss
pixel_shuffle pixel_unshuffle poisson_nll_loss rms_norm rnn_relu rnn_tanh segment_reduce
smooth_l1_loss soft_margin_loss stft triplet_margin_loss upsample mkldnn_convolution
"""

_CHOOSE = """
bucketize gather index_add index_copy index_fill index_put index_reduce index_select argsort msort
nonzero put scatter scatter_add scatter_reduce searchsorted sort take take_along_dim topk unique
unique_consecutive histogramdd combinations cartesian_prod
"""

COMPUTE = frozenset(" ".join((_POINTWISE, _REDUCE, _PRODUCT, _LAYER, _CHOOSE)).split())
"""Operators that compute, without a trailing underscore."""

SHARED = names(
    """
    abs add all any angle ceil clip count cos cross div divide dot equal exp fix floor fold
    index linear log max mean min mode mul norm outer pow put round sign sin sort sqrt sub sum
    take tan threshold trace unique where
    """
)
"""Those whose names other objects' methods have too: not counted where nothing else is known."""

DUNDERS = {
    "__matmul__": "matmul", "__rmatmul__": "matmul", "__imatmul__": "matmul", "__add__": "add",
    "__radd__": "add", "__iadd__": "add", "__sub__": "sub", "__rsub__": "sub", "__isub__": "sub",
    "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul", "__truediv__": "div",
    "__rtruediv__": "div", "__itruediv__": "div", "__pow__": "pow",
}  # fmt: skip

SHAPES = names(
    """
    shape dtype device ndim layout is_cuda is_cpu is_sparse itemsize nbytes requires_grad names
    is_leaf grad_fn output_nr is_quantized is_meta
    """
)
"""Attributes of a tensor that are no tensor."""

ASKS = names(
    """
    size dim ndimension stride numel nelement element_size data_ptr const_data_ptr item tolist
    storage_offset is_contiguous is_floating_point is_complex get_device storage untyped_storage
    type is_pinned is_shared __len__ dim_order
    """
)
"""Methods of a tensor that return no tensor."""

FORM = names(
    """
    dim ndim ndimension shape size dtype numel stride is_contiguous layout
    is_floating_point is_complex element_size
    """
)
"""What a guard of a fallback may ask of a tensor's form."""

PLACE = names(
    """
    is_cuda is_cpu device is_available get_device get_device_capability
    """
)
"""What a guard of a fallback may ask of a device."""

WEIGHTS = names(
    """
    weight bias running_mean running_var in_proj_weight in_proj_bias data weight_ih_l0
    weight_hh_l0 bias_ih_l0 bias_hh_l0
    """
)
"""Attributes of a module of torch.nn that are tensors."""

LAYERS_THAT_DO_NOTHING = names(
    """
    Module Identity Flatten Unflatten Parameter Buffer ParameterList ParameterDict ModuleList
    ModuleDict Sequential UninitializedParameter ZeroPad1d ZeroPad2d ZeroPad3d ConstantPad1d
    ConstantPad2d ConstantPad3d
    """
)

HOLDERS = names(
    """
    Sequential ModuleList ModuleDict ParameterList ParameterDict
    """
)

MAKERS = {
    "torch.utils.cpp_extension.load_inline": "c++",
    "torch.utils.cpp_extension.load": "c++",
    "torch.cuda._compile_kernel": "nvrtc",
    "torch.cuda.jiterator._create_jit_fn": "jiterator",
    "torch.cuda.jiterator._create_multi_output_jit_fn": "jiterator",
    "torch.mps.compile_shader": "metal",
    "torch.ops.load_library": "c++",
    "ctypes.CDLL": "ctypes",
    "ctypes.PyDLL": "ctypes",
    "ctypes.cdll.LoadLibrary": "ctypes",
    "ctypes.pydll.LoadLibrary": "ctypes",
    "cupy.RawKernel": "cupy",
    "cupy.RawModule": "cupy",
    "cupy.ElementwiseKernel": "cupy",
    "cupy.ReductionKernel": "cupy",
    "cupy.fuse": "cupy",
    "cffi.FFI": "cffi",
    "pycuda.compiler.SourceModule": "pycuda",
    "cuda.core.Program": "nvrtc",
    "cuda.core.experimental.Program": "nvrtc",
    "triton.jit": "triton",
    "triton.runtime.jit.jit": "triton",
    "triton.experimental.gluon.jit": "triton",
    "numba.jit": "numba",
    "numba.njit": "numba",
    "numba.vectorize": "numba",
    "numba.guvectorize": "numba",
    "numba.cuda.jit": "numba",
    "cupyx.jit.rawkernel": "cupy",
    "cutlass.cute.kernel": "cute",
    "cutlass.cute.jit": "cute",
    "cutlass.cute.compile": "cute",
    "tilelang.jit": "tilelang",
    "tilelang.compile": "tilelang",
    "helion.kernel": "helion",
    "warp.kernel": "warp",
    "taichi.kernel": "taichi",
}
"""What makes a kernel of one's own, as a function or a decorator, and the kind it makes."""

COMPILERS = names(
    """
    torch.compile torch._dynamo.optimize torch._inductor.compile torch.jit.script
    torch.jit.trace torch.jit.CompilationUnit torch.export.export torch.fx.symbolic_trace
    """
)
"""What lets the library write the kernel."""

LIBRARIES = names(
    """
    transformers diffusers timm flash_attn flash_attn_interface xformers transformer_engine apex
    torchvision torchaudio vllm
    sgl_kernel flashinfer liger_kernel fla bitsandbytes deep_gemm jax tensorflow onnxruntime
    tensorrt torch_tensorrt intel_extension_for_pytorch nvmath mkl faiss sklearn
    """
)
"""Other packages whose functions do a kernel's work."""

ARRAYS = names(
    """
    numpy cupy scipy numexpr operator
    """
)
"""Packages that compute on numbers as well: counted only where a tensor is given to them."""

NAMESPACES = names(
    """
    aten prim prims quantized mkldnn mkl onednn torchvision torchaudio xformers flash_attn vllm
    fbgemm _C inductor rngprims xla c10d
    """
)
"""Namespaces of `torch.ops` that are not the kernel's own."""

SYSTEM_BLAS = re.compile(r"blas|mkl|cudnn|dnnl|cusparse|cufft|cusolver|lapack|torch_c", re.I)
"""Names of shared libraries that compute."""

SYSTEM_LIBRARY = re.compile(r"(?:.*/)?lib(?:c|m|dl|rt|pthread|cuda|cudart|nvrtc|gomp)\b")
"""Shared libraries that are not a kernel of one's own."""

REDUCED = names(
    """
    float16 half bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz fp16 bf16
    float8e4nv float8e5 HalfTensor BFloat16Tensor float4_e2m1fn_x2
    """
)
"""Types with fewer bits than float32, as torch and Triton call them."""

PLAIN_CALLS = names(
    """
    builtins.len builtins.int builtins.float builtins.bool builtins.range builtins.str
    builtins.isinstance builtins.abs builtins.round builtins.id builtins.hash builtins.type
    triton.cdiv triton.next_power_of_2
    """
)
"""Functions whose result is a number, or at least no tensor."""

PASSED_ON = names(
    """
    functools.partial builtins.staticmethod builtins.classmethod builtins.property
    types.MethodType functools.wraps torch.compile torch.jit.script functools.lru_cache
    functools.cache builtins.list builtins.tuple builtins.reversed builtins.enumerate
    builtins.zip builtins.dict builtins.iter builtins.next builtins.map torch._dynamo.disable
    torch.compiler.disable torch.no_grad torch.inference_mode contextlib.nullcontext
    functools.reduce builtins.sorted types.SimpleNamespace collections.namedtuple
    """
)
"""Functions whose result may be, hold or call what they were given."""
