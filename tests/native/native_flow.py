"""Graphs with branches, loops and functions of the file."""

from __future__ import annotations

import onnx
import onnx.parser

HEAD = '<ir_version: 10, opset_import: ["" : 21{more}]>\n'


def parsed(text: str, more: str = "") -> onnx.ModelProto:
    return onnx.parser.parse_model(HEAD.replace("{more}", more) + text)


# Rows stay apart in all of these: [N, 4] → [N, …].
BATCHED = {
    "if-by-a-constant": """g (float[N, 4] x) => (float[N, 4] y) <bool c = {1}>
        { y = If(c) <then_branch = t () => (float[N, 4] a) { a = Relu(x) }, else_branch = e () => (float[N, 2] b)
          { k = Constant<value = int64[2] {0, 1}>() b = Gather<axis = 1>(x, k) }> }""",
    "if-by-a-shape": """g (float[N, 4] x) => (float[N, 4] y)
        { s = Shape<start = 1>(x) four = Constant<value = int64[1] {5}>() c = Equal(s, four)
          y = If(c) <then_branch = t () => (float[N, 4] a) { a = Relu(x) }, else_branch = e () => (float[N, 4] b) { b = Tanh(x) }> }""",
    "loop-that-doubles": """g (float[N, 4] x) => (float[N, 4] y) <int64 m = {5}, bool go = {1}>
        { y = Loop(m, go, x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 4] t)
          { d = Identity(c) u = Add(s, x) t = Tanh(u) }> }""",
    "loop-that-reads-around-it": """g (float[N, 4] x) => (float[N, 4] y) <int64 m = {3}>
        { e = Exp(x) y = Loop(m, , x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 4] t)
          { d = Identity(c) u = Add(s, e) v = Sin(u) w = Cos(u) k = Mul(v, w) l = Sub(v, w) n = Mul(k, u) t = Add(n, l) }> }""",
    "loop-that-collects": """g (float[N, 4] x) => (float[N, 4] y, float[T, N, 4] z) <int64 m = {3}>
        { y, all = Loop(m, , x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 4] t, float[N, 4] o)
          { d = Identity(c) k = Cast<to = 1>(i) u = Add(s, k) t = Sin(u) o = Mul(t, x) }>
          z = Transpose<perm = [1, 0, 2]>(all) }""",
    "states-that-change-places": """g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) <int64 m = {3}, float two = {2}>
        { w = Mul(x, two) y, z = Loop(m, , x, w) <body = b (int64 i, bool c, float[N, 4] s, float[N, 4] r) =>
          (bool d, float[N, 4] r, float[N, 4] s) { d = Identity(c) }> }""",
    "loop-in-a-loop": """g (float[N, 4] x) => (float[N, 4] y) <int64 m = {3}>
        { y = Loop(m, , x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 4] t)
          { d = Identity(c) e = Exp(x) f = Sigmoid(e)
            t = Loop(m, , s) <body = bb (int64 j, bool cc, float[N, 4] ss) => (bool dd, float[N, 4] tt)
              { dd = Identity(cc) v = Sub(ss, f) tt = Cos(v) }> }> }""",
    "no-turns": """g (float[N, 4] x) => (float[N, 4] y) <int64 m = {0}>
        { y = Loop(m, , x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 4] t) { d = Identity(c) t = Add(s, s) }> }""",
    "scan": """g (float[N, 4, 3] x) => (float[N, 3] y, float[N, 4, 3] z) <int64[1] one = {1}>
        { h = ReduceMax<keepdims = 0>(x, one) y, z = Scan<num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
          body = b (float[N, 3] s, float[N, 3] e) => (float[N, 3] t, float[N, 3] o) { u = Add(s, e) t = Tanh(u) o = Neg(t) }>(h, x) }""",
    "scan-from-the-end": """g (float[N, 4, 3] x) => (float[N, 3] y, float[N, 4, 3] z) <int64[1] one = {1}>
        { h = ReduceMax<keepdims = 0>(x, one) y, z = Scan<num_scan_inputs = 2, scan_input_axes = [1, 1], scan_input_directions = [1, 0],
          scan_output_axes = [1], scan_output_directions = [1], body = b (float[N, 3] s, float[N, 3] e, float[N, 3] f) =>
          (float[N, 3] t, float[N, 3] o) { u = Add(s, e) v = Mul(u, f) t = Tanh(v) o = Neg(v) }>(h, x, x) }""",
    "function": """g (float[N, 4] x) => (float[N, 4] y) { a = mine.twice<alpha = 0.25>(x) y = mine.twice(a) }
        <domain: "mine", opset_import: ["" : 21]> twice <alpha: float = 0.5> (v) => (w) {
          l = LeakyRelu<alpha: float = @alpha>(v) w = Add(l, v) }""",
}
# What happens depends on data: one row at a time.
SINGLE = {
    "a-branch-of-slow-ops": """g (bool[1] c, float[1, 4] x) => (float[1, 4] y) <float two = {2}>
        { y = If(c) <then_branch = t () => (float[1, 4] a) { a = Mod<fmod = 1>(x, two) }, else_branch = e () => (float[1, 4] b)
          { b = Mod<fmod = 1>(two, x) }> }""",
    "if-by-an-input": """g (bool[1] c, float[1, 4] x) => (float[1, 4] y)
        { e = Exp(x) y = If(c) <then_branch = t () => (float[1, 4] a) { a = Relu(x) }, else_branch = e () => (float[1, 4] b)
          { k = Neg(e) b = Mul(k, x) }> }""",
    "if-in-a-loop": """g (bool[1] c, float[1, 4] x) => (float[1, 4] y) <int64 m = {4}, float limit = {1}>
        { y = Loop(m, , x) <body = b (int64 i, bool c1, float[1, 4] s) => (bool d, float[1, 4] t)
          { d = Identity(c1) all = ReduceSum<keepdims = 0>(s) more = Greater(all, limit)
            t = If(more) <then_branch = th () => (float[1, 4] a) { a = Sub(s, x) }, else_branch = el () => (float[1, 4] bb)
              { q = Abs(x) bb = Add(s, q) }> }> }""",
    "loop-until": """g (bool[1] c, float[1, 4] x) => (float[1, 4] y) <float limit = {20}>
        { c0 = Squeeze(c) y = Loop(, c0, x) <body = b (int64 i, bool c1, float[1, 4] s) => (bool d, float[1, 4] t)
          { t = Add(s, x) a = Abs(t) all = ReduceSum<keepdims = 0>(a) d = Less(all, limit) }> }""",
    "a-slow-op-in-a-loop": """g (bool[1] c, float[1, 4] x) => (float[1, 4] y, float[3, 1, 4] z) <int64 m = {3}, float two = {2}>
        { w = Where(c, x, two) y, z = Loop(m, , w) <body = b (int64 i, bool c1, float[1, 4] s) => (bool d, float[1, 4] t, float[1, 4] o)
          { d = Identity(c1) u = Add(s, x) t = Mod<fmod = 1>(u, two) o = Tanh(t) }> }""",
}
