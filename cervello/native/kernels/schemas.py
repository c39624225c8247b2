"""Schemas of all kernels that steps call, by family, in the notation of `codegen.schema`. Strides are in bytes."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record
from cervello.native.kernels.schema import SCHEMAS, schema

__all__ = ["SCHEMAS"]

# Loops around blocks: three outer sizes; a block call processes `count` elements.
_LOOP: Final = "block:block count:rows sizes:rows*3"
_MAP: Final = f"{_LOOP} source_by:stride*3 target_by:stride*3 parameters..."
_PAIR: Final = f"{_LOOP} a_by:stride*3 b_by:stride*3"
MAP_UNARY: Final = schema("maps:unary", "source -> target", _MAP)
MAP_BINARY: Final = schema("maps:binary", "a b -> target", f"{_PAIR} target_by:stride*3 parameters...")
MAP_BINARY_ACTIVATED: Final = schema(
    "maps:binary_activated", "a b -> target", f"{_PAIR} target_by:stride*3 mask:int activation:block parameters...")
MAP_TERNARY: Final = schema("maps:ternary", "a b c -> target", f"{_PAIR} c_by:stride*3 target_by:stride*3 parameters...")

# Reductions: of sixteen rows at a time, where the last size counts rows; and of [outer, terms, inner].
BATCHED_ROWS: Final = schema(
    "reduce_batched:sum_ reduce_batched:mean reduce_batched:max_ reduce_batched:softmax reduce_batched:layer_norm "
    "reduce_short:softmax reduce_short:log_sum_exp", "source -> target | transposed", _MAP)
INNER: Final = schema(" ".join(f"reduce_inner:{name}" for name in (
    "sum_", "mean", "prod", "max_", "min_", "sum_square", "l2", "l1", "log_sum")), "source -> target", "outer:rows terms:rows inner:rows")

# Copies and fills.
_COPY: Final = "itemsize sizes:rows*5 source_by:stride*5 target_by:stride*5"
COPY: Final = schema("copies:copy", "source -> target", _COPY)
COPY_DEEP: Final = schema("copies:copy_deep", "source -> target", f"{_COPY} outer loops...")
COPY_LOOP: Final = record("outer loop of a copy", "size:rows source_by:stride target_by:stride")  # of each of `outer` loops
FILL: Final = schema("copies:fill", "-> target", "itemsize count:rows element:bits")

# Gather and scatter; the indexed axis has `size` elements and a stride of 0 in data_by. mode: 0 write, 1 add, 2 multiply, 3 maximum,
# 4 minimum; kind: 0 float32, 1 int64, 2 int32.
GATHER: Final = schema("copies:gather", "table indices -> target", "count:rows inner:rows size index_bytes outer:rows")
_ELEMENTS: Final = "itemsize index_bytes size axis_by:stride sizes:rows*5 data_by:stride*5 indices_by:stride*5 values_by:stride*5"
GATHER_ELEMENTS: Final = schema("gather_scatter:gather_elements", "data indices -> target", _ELEMENTS)
SCATTER_ELEMENTS: Final = schema("gather_scatter:scatter_elements", "updates indices -> target", f"{_ELEMENTS} mode kind")
_TUPLES: Final = "batches:rows tuples:rows depth index_bytes block:rows batch_by:stride sizes*5 strides:stride*5"  # of indexed axes
GATHER_ND: Final = schema("gather_scatter:gather_nd", "data indices -> target", _TUPLES)
SCATTER_ND: Final = schema("gather_scatter:scatter_nd", "updates indices -> target", f"{_TUPLES} mode kind")
TOP_K: Final = schema("gather_scatter:top_k", "source -> values indices", "rows:rows n k largest:int")

# Matrix products. ldw: bytes from one column of weights to the next.
_MATRIX: Final = "weights:weight bias:weight rows:rows k width lda:stride ldc:stride"
GEMM: Final = schema("gemm:gemm", "a -> c", f"{_MATRIX} segments activation:block? parameters...")
GEMM_RESIDUAL: Final = schema("gemm:gemm_residual", "a residual -> c", f"{_MATRIX} segments ldr:stride activation:block? parameters...")
GEMV: Final = schema("gemv:gemm", "a -> c", f"{_MATRIX} ldw activation:block? parameters...")
PRODUCT: Final = schema(
    "products:product", "a b -> c | panels",
    "sizes:rows*3 a_by:stride*3 b_by:stride*3 c_by:stride*3 m k n lda:stride ldb:stride column:stride segments zeros:weight")
ATTEND: Final = schema(
    "attention:attend", "q k v first second third fourth -> out | keys values scores",
    "sizes:rows*3 q_by:stride*3 k_by:stride*3 v_by:stride*3 out_by:stride*3 m n d dv q_row:stride k_row:stride k_column:stride "
    "v_row:stride v_column:stride out_row:stride d_segments n_segments zeros:weight n_ops softmax:block ops...")
# For each of `n_ops` elementwise ops on the scores: the other operand is `first` to `fourth` of ATTEND; `mask`: the block's parameter.
ATTEND_OP: Final = record("op of an attention", "block:block on_left by:stride*3 row:stride mask")

# Recurrent layers. rows_first: x is [rows, steps, features].
_SIZES: Final = "steps:rows rows:rows features hidden"
LSTM: Final = schema(
    "recurrent:lstm", "x h0 c0 -> y h c | gates hidden_gates",
    f"weights:weight bias:weight r:weight zeros:weight {_SIZES} has_h0 has_c0 wants_y reverse:int y_step:stride w_segments r_segments "
    "lda:stride rows_first:int")
GRU: Final = schema(
    "recurrent:gru", "x h0 -> y h | gates hidden_gates reset_hidden",
    f"weights:weight bias:weight r_gates:weight r_new:weight zeros:weight r_bias:weight {_SIZES} has_h0 wants_y reverse:int "
    "y_step:stride linear_before_reset:int w_segments g_segments n_segments lda:stride rows_first:int")

# Windows. x_by, y_by: to the next image, channel, row and pixel; down, right: from one window to the next; prefetches: 1: images are
# prefetched.
_CONVOLUTION: Final = ("weights:weight bias:weight offsets:weight images:rows groups channels filters k height width out_height out_width "
                       "rows columns")
BY_PIXELS: Final = schema(
    "convolution:by_pixels", "x -> y | copied results",
    f"{_CONVOLUTION} sh sw ph:int pw:int x_by:stride*4 y_by:stride*4 in_place direct prefetches:int activation:block? parameters...")
BY_FILTERS: Final = schema(
    "convolution:by_filters", "x -> y | copied results windows",
    f"{_CONVOLUTION} ph:int pw:int down:stride right:stride x_by:stride*4 y_by:stride*4 in_place by_pixel "
    "prefetches:int activation:block? parameters...")
_POOL: Final = ("images:rows channels height width out_height out_width window*2 strides*2 dilations*2 pads:int*2 x_by:stride*4 "
                "y_by:stride*4")
MAX_POOL: Final = schema("pooling:max_pool", "x -> y | row", _POOL)
AVERAGE_POOL: Final = schema("pooling:average_pool", "x -> y | row", f"{_POOL} counts_padding:int")

# Trees. mode: 0 average, 1 sum, 2 minimum, 3 maximum; x_is_float64, result_is_float64: 1 or 0.
TREES: Final = schema(
    "trees:trees", "x -> result | scores voted",
    "nodes:weight roots:weight starts:weight targets:weight values:weight base:weight rows:rows row_by:stride trees n_targets mode "
    "x_is_float64 result_is_float64")

# Class probabilities from pairwise probabilities.
COUPLING: Final = schema("coupling:couple", "pairs -> result | work", "rows:rows classes")

# Noise. `site` identifies the node; `fill` is a kernel of `noise`, whose words are in the scratch `block`.
NORMAL: Final = schema("random:normal", "-> target | block", "rows:rows width mean:float scale:float site:bits fill:function")
UNIFORM: Final = schema("random:uniform", "-> target | block", "rows:rows width low:float span:float site:bits fill:function")
MULTINOMIAL: Final = schema("multinomial:multinomial", "logits -> target | weights draws block",
                            "rows:rows lines classes samples itemsize site:bits fill:function")

# Branches and loops. A counter holds the iteration and the trip count.
LABEL: Final = schema("control_flow:label", "->")
JUMP: Final = schema("control_flow:jump", "->", "to:jump")
BRANCH: Final = schema("control_flow:branch", "condition ->", "to:jump")
LOOP_BEGIN: Final = schema("control_flow:loop_begin", "trip_count condition -> counter going", "to:jump")
LOOP_NEXT: Final = schema("control_flow:loop_next", "condition -> counter going", "to:jump")
_POSITION: Final = f"length:rows element_by:stride reverse:int {_COPY}"
SCAN_READ: Final = schema("control_flow:scan_read", "sequence counter -> element", _POSITION)
SCAN_WRITE: Final = schema("control_flow:scan_write", "element counter -> sequence", _POSITION)
