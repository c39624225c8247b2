"""`cervello warmup`: compiles kernels ahead, so that the first action in a game does not wait."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from cervello.cli import compiling, options
from cervello.cli.formatting import duration, plain, plural
from cervello.cli.terminal import Terminal

SUMMARY = "compile ahead what policies need, so that the first action does not wait"
EXAMPLES: tuple[str, ...] = ("cervello warmup racer.onnx", "cervello warmup")

# Blocks that most policies of games and robots use, by how many of some ninety exported files need them.
COMMON = tuple(f"cervello.native.kernels.{name}" for name in (
    "runtime.control:run", "runtime.control:run_named", "runtime.control:resolve", "runtime.execution:segment", "links:run_links",
    "filling:fill_inputs", "storing:store_state",
    "gemm:gemm", "gemm:gemm_residual", "gemv:gemm", "products:product",
    "maps:unary", "maps:binary", "maps:binary_activated", "maps:ternary", "copies:copy", "copies:copy_deep", "copies:fill", "copies:gather",
    "unary:relu", "unary:tanh", "unary:sigmoid", "unary:elu", "unary:leaky_relu", "unary:exp", "unary:log", "unary:clip",
    "unary:sqrt", "unary:neg",
    "binary:add", "binary:sub", "binary:mul", "binary:div", "binary:max_", "binary:min_", "binary:pow_",
    "normalize_last:softmax", "reduce_short:softmax", "attention:attend",
    "normalize_last:log_softmax", "normalize_last:layer_norm", "reduce_last:sum_", "reduce_last:mean", "reduce_last:max_",
    "reduce_last:arg_max",
    "reduce_batched:sum_", "reduce_batched:mean", "reduce_batched:max_",
    "reduce_batched:softmax", "reduce_batched:layer_norm",
    "casts:f32_to_i64", "casts:i64_to_f32", "casts:bool_to_f32",
    "convolution:by_pixels", "convolution:by_filters", "pooling:max_pool",
    "recurrent:lstm", "recurrent:gru", "random:normal", "multinomial:multinomial", "runtime.thread_pool:run_worker",
    "runtime.thread_pool:run_parallel"))


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="*", type=Path,
                        help="policy files; without any: the demo's policies and what most policies use")
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.codegen import linker

    paths: Sequence[Path] = arguments.models
    if not paths:
        from cervello.demo import SPECIES, policy_path

        paths = [policy_path(species.name) for species in SPECIES]
    start = time.perf_counter()
    with compiling.shown(terminal, delay_s=0.0, counts=True) as watch:
        with terminal.bar("policies", len(paths)) as bar:
            for done, path in enumerate(paths):
                bar.show(done, len(paths), plain(path.name))
                _warm(path)
        if not arguments.models:
            from cervello.noise.streams import KERNELS

            linker.link([*COMMON, *KERNELS])
    lasted_s = time.perf_counter() - start
    if arguments.json:
        found = compiling.cache_facts()
        terminal.json({"models": [str(path) for path in paths], "compiled": watch.compiled, "seconds": lasted_s, "cache": found})
        return
    if watch.compiled:
        terminal.print(f"compiled {plural(watch.compiled, 'kernel')} in {duration(lasted_s)}")
    else:
        terminal.print("nothing to compile: every kernel was there")
    terminal.print(plain(compiling.cache_line()))


def _warm(path: Path) -> None:
    """Loads a policy and lets it decide for one agent and for two: wrappers and noise compile when they are first used."""
    import numpy as np

    import cervello

    policy = cervello.load(path, wrappers="auto")
    for n_rows in (1, 2):
        ids = np.arange(n_rows)
        policy.begin_agents(ids)
        policy.infer_batch(ids, {spec.name: np.zeros(spec.batched(n_rows), spec.dtype) for spec in policy.inputs.values()})
        policy.end_agents(ids)
