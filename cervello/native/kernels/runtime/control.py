"""The compiled entry of a run: checks arrays, resolves a program for N rows, and executes it.

If the check refuses an array, its index is returned, and Python takes the general path.
"""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import call_c_1, call_kernel, word, write_i64
from cervello.native.kernels.runtime.arguments import check_arguments, count_references, find_by_name, find_in_order, make_outputs
from cervello.native.kernels.runtime.execution import execute
from cervello.native.kernels.views import Arguments, Context, Plan, argument
from cervello.noise.layout import DATA, TYPE


def run(ctx, plan, n, objects, n_objects):
    """Checks arrays, runs a plan, or both.

    Args:
      plan: address of a PLAN; 0 only checks the arrays.
      n: with arrays, their expected number of rows; without, the first row of the checked arrays to run.
      objects: addresses of n_objects arrays, inputs then outputs.
    Returns:
      0; -1 - i if array i cannot be used in place; -1 - n_objects if their number is wrong; else the status of `run_steps`.
    """
    first = n
    if n_objects != 0:
        first = 0
        if n_objects != Arguments(Context(ctx).arguments).n_arrays:
            return -1 - n_objects
        status = check_arguments(ctx, objects, n)
        if status != 0:
            return status
    return execute(ctx, plan, first) if plan != 0 else 0


@noinline
def _commit(ctx, n_rows):
    """Stores wrapper state from outputs after a successful run and advances each agent's step counter; returns the result of
    `storing.store_state`."""
    context = Context(ctx)
    slots, steps = context.slots, context.steps
    status = 0
    if context.store_state != 0:
        status = call_kernel(context.store_state, ctx, n_rows)
        if status < 0:
            return -1
    for i in range(n_rows):
        slot = word(slots, i)
        write_i64(steps, slot, word(steps, slot) + 1)
    return status


@noinline
def _run_checked(ctx, plan, n, objects, n_objects):
    """The part of `run_named` that follows the check of arrays."""
    context = Context(ctx)
    has_ops = n_objects != 2 and n_objects != 6
    if n_objects != 2:
        context.slots = word(word(objects, 2) + DATA, 0)
        context.steps = word(word(objects, 3) + DATA, 0)
        context.keys = word(word(objects, 4) + DATA, 0)
        context.all_deterministic = 0
        flags = 0
        if n_objects > 5 and word(word(objects, 5) + TYPE, 0) == Arguments(context.arguments).array_type:
            flags = word(word(objects, 5) + DATA, 0)
        context.deterministic = flags
    if has_ops and context.fill_inputs != 0:
        call_kernel(context.fill_inputs, ctx, n)
    status = execute(ctx, plan, 0) if plan != 0 else 0
    if has_ops:
        if status == 0 and context.run_links != 0:
            status = call_kernel(context.run_links, ctx, n)
        if status == 0:
            status = _commit(ctx, n if context.deadline == 0 else context.n_run)
    return status


def run_named(ctx, plan, n, objects, n_objects):
    """Like `run`, with arrays looked up by name in two dicts, inputs and outputs. A small policy takes half the time with this compiled
    lookup.

    A plan of 0 only checks the arrays and stores the agent arrays. Fused wrapper ops need a plan.

    An empty outputs dict of the type in `results_type` of the context is filled with new arrays.

    The number of objects selects the form of the call:

    2: inputs and outputs. A run without agents; `ExecutionContext.set_noise` has set the noise source.
    5: also slots (int64 by row), step counters (int64 by slot) and noise keys. No row is deterministic. Fused wrapper ops and chained
       graphs run, and each agent's step counter is advanced on success.
    6: also the deterministic flags (bool by row, or None). Fused wrapper ops and chained graphs do not run.
    7: also any object: as with 5 objects, with the flags.

    With 5 or 7 objects, nonfinite state gives the status NONFINITE, or -1 if a wrapper refuses it. A chunked plan may stop at the
    `deadline` of the context; `n_run` is then the number of rows that ran.
    """
    context = Context(ctx)
    arguments = Arguments(context.arguments)
    inputs, outputs = word(objects, 0), word(objects, 1)
    size, dict_type = context.dict_size, context.dict_type
    kind = word(outputs + TYPE, 0)
    makes_outputs = kind == context.results_type and call_c_1(size, outputs) == 0
    if word(inputs + TYPE, 0) != dict_type or (kind != dict_type and not makes_outputs):
        return -1
    if call_c_1(size, inputs) != arguments.given_inputs:
        return -1
    if not makes_outputs and call_c_1(size, outputs) != arguments.given_outputs:
        return -1
    arrays = argument(context.arguments, arguments.n_arrays)
    status = 0
    for output in range(1 if makes_outputs else 2):  # a loop, so that the lookup is compiled once
        names = inputs if output == 0 else outputs
        if status == 0 and not find_in_order(ctx, names, output, arrays):
            status = find_by_name(ctx, names, output, arrays)
    if status != 0:
        return status
    if makes_outputs and not make_outputs(ctx, outputs, arrays, n):
        return -1
    status = check_arguments(ctx, arrays, n)
    if status != 0:
        return status
    releases_gil = plan != 0 and Plan(plan).releases_gil != 0  # other threads may remove arrays from the dicts
    if releases_gil:
        count_references(ctx, context.incref)
    status = _run_checked(ctx, plan, n, objects, n_objects)
    if releases_gil:
        count_references(ctx, context.decref)
    return status


def resolve(target, const, slopes, owners, offsets, n_words, n_rows):
    """Computes a program's words for one N: target[i] = const[i] + slopes[i] * n_rows + offsets[owners[i]]."""
    for i in range(n_words):
        write_i64(target, i, word(const, i) + word(slopes, i) * n_rows + word(offsets, word(owners, i)))
    return 0
