"""Applies small mutations to a copy of the package, one at a time; each must make its test fail.

A law that no mutation can break is not tested. Run from the project root: `python tests/mutations.py [words to select by]`; with
`--few`, only the first of each folder of the package, which takes two minutes.
As many at a time as there are CPUs. Prints a line per mutation as it goes, then a table; exits with 1 when a mutation survives or does
not apply.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NATIVE = "tests/native"
ELEMENTWISE, REDUCTIONS = f"{NATIVE}/kernels/test_operators_elementwise.py", f"{NATIVE}/kernels/test_operators_reductions.py"
FLOW = f"{NATIVE}/lowering/test_flow.py"
HEADS = "tests/heads"
AGENTS = "tests/agents"
ENVS = "tests/envs"
EVALUATION = "tests/evaluation"
BRIDGE, CLIENTS = "tests/bridge", "tests/bridge_clients"
SIZED = f"{AGENTS}/test_sized_queues.py"
IN_TIME = f"{AGENTS}/test_batches_in_time.py"
ALL_ROWS = f"{IN_TIME}::test_the_first_rows_run_in_any_case_and_all_of_them_when_there_is_time"
SAME_BITS = f"{NATIVE}/test_batch_invariance.py::test_rows_have_the_same_bits_in_any_batch_size_place_and_chunking"


class Mutation(NamedTuple):
    """One change.

    Attributes:
      what: what is broken.
      file: inside the package; what lies beside it begins with `../`.
      old, new: text that occurs exactly once, and what takes its place.
      test: what must fail.
    """

    what: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = [
    Mutation("one row adds its segments in another order", "native/kernels/tiles.py",
             "            total = builder.load(sums[0][j])\n            for s in range(1, segments):\n",
             "            total = builder.load(sums[0][j])\n            for s in reversed(range(1, segments)):\n",
             f"{SAME_BITS}[Gemm-257-terms]"),
    Mutation("segments depend on the number of rows", "native/kernels/gemm.py", "    length = (k + segments - 1) // segments\n    half",
             "    if n_rows > 30:\n        segments = 1\n    length = (k + segments - 1) // segments\n    half",
             f"{SAME_BITS}[Gemm-40-terms]"),
    Mutation("tall tiles multiply and add with two roundings", "native/kernels/register_sums.py",
             "builder.call(fma, [value, vector, total]) for vector",
             "builder.fadd(builder.fmul(value, vector), total) if len(starts) > 4 else builder.call(fma, [value, vector, total]) "
             "for vector",
             f"{SAME_BITS}[Gemm-257-terms]"),
    Mutation("half tiles forget the bias of other panels", "native/kernels/gemm.py",
             ", bias + whole * 4, c + whole * 4, ldc,", ", bias, c + whole * 4, ldc,",
             f"{NATIVE}/test_batch_invariance.py::test_half_panels_have_the_bits_of_single_rows"),
    Mutation("segmented tiles begin every segment with the bias", "native/kernels/tiles.py",
             "connect(segment_starts, zeros, last)\n", "connect(segment_starts, starts, last)\n",
             f"{SAME_BITS}[Gemm-257-terms]"),
    Mutation("what turns read from around them lasts for one turn", "native/lowering/rules/control_flow.py",
             "    loop_next.keeps = tuple(lowering.tensors[name] for name in node.inputs if name in lowering.tensors)\n", "",
             f"{FLOW}::test_rows_run_as_in_onnxruntime[7-loop-that-reads-around-it]"),
    Mutation("states that change places overwrite each other", "native/lowering/rules/control_flow.py",
             "any(last.buffer is other.buffer for other in states)", "False",
             f"{FLOW}::test_rows_run_as_in_onnxruntime[7-states-that-change-places]"),
    Mutation("results of turns lie where a turn works", "native/lowering/rules/control_flow.py",
             "            loop.begin.keeps += (sequence,)", "            pass",
             f"{FLOW}::test_rows_run_as_in_onnxruntime[7-loop-that-collects]"),
    Mutation("a block of taps begins again with the bias", "native/kernels/convolution.py",
             "            start, start_stride = out + first * 4, ldo\n", "            pass\n",
             f"{NATIVE}/kernels/test_operators_onnxruntime.py::test_outputs_are_those_of_onnxruntime[Conv-many-taps]"),
    Mutation("windows of the next image begin in the one before", "native/kernels/convolution.py",
             "            row = image + n * xn\n        elif", "            row = image\n        elif",
             f"{NATIVE}/kernels/test_operators_onnxruntime.py::test_outputs_are_those_of_onnxruntime[Conv-one-pixel]"),
    Mutation("sixteen transposed lines use only the last weight", "native/kernels/multinomial.py",
             "        total = total + weight\n", "        total = weight\n", f"{SAME_BITS}[Multinomial]"),
    Mutation("NaN takes the branch of equal values", "native/kernels/trees.py", "value > threshold else 8", "value > threshold else 2",
             f"{NATIVE}/passes/test_traditional.py::test_every_mode_takes_the_branch_that_its_comparison_says[BRANCH_LEQ-False]"),
    Mutation("late frames teach nothing", "agents/runtime/slowdown.py",
             "min(self.margin_s + _STEP * budget_s, _MAX_MARGIN * budget_s)", "self.margin_s",
             "tests/agents/test_levels.py::test_the_margin_keeps_late_frames_rare"),
    Mutation("remainders of a block come from another formula", "codegen/blocks.py",
             "            store_masked(target + i * 4, function(load_masked(source + i * 4, count - i), parameters), count - i)",
             "            x = load_masked(source + i * 4, count - i)\n"
             "            y = function(x, parameters)\n"
             "            store_masked(target + i * 4, (y + x) - x, count - i)", f"{SAME_BITS}[Gemm-tanh]"),
    Mutation("compiled with fastmath", "codegen/compiler.py", '"fastmath": False', '"fastmath": True',
             f"{REDUCTIONS}::test_arg_max_takes_the_first_of_equals_and_nan_above_all"),
    Mutation("compiled with reciprocals for divisions", "codegen/simd.py",
             '        register(op, f32x16, f32x16, call(name))\n',
             '        register(op, f32x16, f32x16, call(name) if name != "fdiv" else (lambda builder, a, b: builder.fmul(a, builder.fdiv('
             'ir.Constant(F32X16, [1.0] * LANES), b))))\n',
             f"{REDUCTIONS}::test_softmax_with_masked_and_impossible_rows "
             f"{ELEMENTWISE}::test_broadcasting_is_numpys "
             f"{ELEMENTWISE}::test_binary_ops_follow_float64_over_all_pairs_of_special_values[Div]"),
    Mutation("sums over lanes use as many lanes as the CPU has", "native/kernels/lane_trees.py",
             "        x = combine(x, rotate_8(x))\n        x = combine(x, rotate_4(x))\n",
             "        x = combine(x, rotate_4(x)) if _NARROW else combine(x, rotate_8(x))\n"
             "        x = combine(x, rotate_8(x)) if _NARROW else combine(x, rotate_4(x))\n",
             f"{NATIVE}/test_other_cpus.py::test_code_for_haswell_gives_the_hosts_bits_and_touches_no_wider_register"),
    Mutation("relu loses NaN", "native/kernels/unary.py", "    return select(x < constant(0.0), constant(0.0), x)\n",
             "    return select(x > constant(0.0), x, constant(0.0))\n",
             f"{ELEMENTWISE}::test_denormals_and_nan_pass_through[Relu]"),
    Mutation("max keeps NaN from one side only", "native/kernels/lane_trees.py",
             "def maximum(a, b):  # a NaN in either operand gives NaN, as in numpy and onnxruntime\n"
             "    return select(a != a, a, select(a > b, a, b))",
             "def maximum(a, b):\n    return select(a > b, a, b)",
             f"{ELEMENTWISE}::test_binary_ops_follow_float64_over_all_pairs_of_special_values[Max]"),
    Mutation("lifetimes in the memory plan end a step early", "native/memory/arena_plan.py", "                end[key] = index + 1\n",
             "                end[key] = max(index, first[key] + 1)\n",
             f"{NATIVE}/memory/test_memory.py::test_no_two_live_buffers_share_a_byte_and_the_arena_is_between_peak_and_sum"),
    Mutation("the memory plan fills a little too low", "native/memory/offset_search.py",
             "                if high > at_byte:\n                    at_byte = high",
             "                if high > at_byte:\n                    at_byte = high - 64",
             f"{NATIVE}/memory/test_offset_search.py::test_first_fit_keeps_conflicts_apart"),
    Mutation("the memory plan's skyline forgets a stretch", "native/memory/offset_search.py",
             "if rank[i] < best_rank and ends[i] <= right:",
             "if rank[i] < best_rank and ends[i] <= right + 1:",
             f"{NATIVE}/memory/test_offset_search.py::test_the_skyline_keeps_conflicts_apart"),
    Mutation("stacking orders of the memory plan drop a support", "native/memory/offset_search.py",
             "                covered |= below[j] | 1 << j",
             "                covered |= -1", f"{NATIVE}/memory/test_offset_search.py::test_a_stacking_order_is_valid_for_all_sizes"),
    Mutation("batched rows add their terms in another order", "native/kernels/batched_rows.py",
             "combine(load(transposed + i * 64), load(transposed + (i + 8) * 64))",
             "combine(load(transposed + i * 64), load(transposed + (15 - i) * 64))",
             f"{NATIVE}/passes/test_fusion.py::test_softmax_of_short_rows_has_the_bits_of_single_rows"),
    Mutation("fused attention reads the mask of the first rows for all", "native/kernels/attention.py",
             "j * op.by[2] + first * op.row", "j * op.by[2]",
             f"{NATIVE}/passes/test_fusion.py::test_attention_in_one_step_has_the_bits_of_its_parts"),
    Mutation("the memory plan keeps the last stacking order", "native/kernels/runtime/arena_layout.py",
             "        if smallest < 0 or total < smallest:",
             "        if True:", f"{NATIVE}/memory/test_memory_bounds.py"),
    Mutation("the verifier of memory plans trusts stacking orders", "native/memory/verifier.py",
             "return bool(above[key] >> ranks[other] & 1)",
             "return True", f"{NATIVE}/memory/test_verifier.py"),
    Mutation("the memory plan is searched for at one row count only", "native/memory/arena_plan.py", "_PROBES = (64, 1,",
             "_PROBES = (64,) or (64, 1,",
             f"{NATIVE}/memory/test_memory_bounds.py"),
    Mutation("the verifier forgets lifetimes that touch", "native/memory/verifier.py", "while spans[by_end[ended]][1] < spans[key][0]:",
             "while spans[by_end[ended]][1] <= spans[key][0]:",
             f"{NATIVE}/memory/test_verifier.py"),
    Mutation("the check of arrays does not look for overlaps", "native/kernels/runtime/arguments.py",
             "            return False\n    return True\n\n\n@noinline\ndef check_arguments",
             "            return True\n    return True\n\n\n@noinline\ndef check_arguments",
             f"{NATIVE}/execution/test_arguments.py::test_an_output_that_overlaps_an_input_is_right_all_the_same"),
    Mutation("the check takes strided arrays for contiguous ones", "native/execution/context.py", "_CONTIGUOUS | layout.READABLE |",
             "layout.READABLE |",
             f"{NATIVE}/execution/test_arguments.py::test_odd_inputs_give_the_same_bits_and_compile_nothing[strided]"),
    Mutation("noise is mixed by four rounds only", "noise/reference.py", "ROUNDS: Final = 10", "ROUNDS: Final = 4",
             "tests/noise/test_independence.py tests/noise/test_series.py"),
    Mutation("noise in blocks takes the step for the site", "noise/draws.py", "splat_int(site), splat_int(step), last",
             "splat_int(step), splat_int(step), last", "tests/noise/test_independence.py"),
    Mutation("noise is keyed by row, not by slot", "native/kernels/random.py", "context.slots + first * 8", "context.slots",
             f"{SAME_BITS}[RandomUniformLike]"),
    Mutation("pieces of a batch begin at the wrong row", "native/kernels/runtime/execution.py",
             "            first += Plan(chunk).n_rows\n",
             "            first += Plan(chunk).n_rows - (p > 0)\n", f"{NATIVE}/test_batch_invariance.py"),
    Mutation("a worker takes the rows of another part", "native/kernels/runtime/thread_pool.py", "first + (claimed - begin) * rows)",
             "first + claimed * rows)",
             f"{NATIVE}/program/test_chunking.py"),
    Mutation("a leader does not wait for the last pieces", "native/kernels/runtime/thread_pool.py",
             "    while load(j.pending_at, 0) != 0:\n",
             "    while load(j.pending_at, 0) > 1:\n", f"{NATIVE}/program/test_chunking.py"),
    Mutation("workers draw noise for the rows of the batch before", "native/kernels/runtime/thread_pool.py",
             "            write_i64(ctx, i, word(j.context, i))\n", "            pass\n",
             f"{NATIVE}/program/test_chunking.py::test_a_shared_batch_has_the_bits_of_rows_alone[RandomNormalLike]"),
    Mutation("short rows divide where long ones multiply", "native/kernels/reduce_short.py",
             "store(scratch + j * 64, load(scratch + j * 64) * factor)",
             "store(scratch + j * 64, load(scratch + j * 64) / _sum(scratch, count, scratch + count * 64))",
             f"{NATIVE}/passes/test_fusion.py::test_softmax_of_short_rows_has_the_bits_of_single_rows"),
    Mutation("transposed rows add their terms one by one", "native/kernels/reduce_short.py", "at = free + j % 16 * 64",
             "at = free + (j * 7) % 16 * 64",
             f"{NATIVE}/passes/test_fusion.py::test_softmax_of_short_rows_has_the_bits_of_single_rows"),
    Mutation("batched rows are normalised with the mean of the first", "native/kernels/reduce_batched.py",
             "centered_squares_to_lanes(source + r * source_row, count, splat(read_f32(centers, r)))",
             "centered_squares_to_lanes(source + r * source_row, count, splat(read_f32(centers, 0)))",
             f"{NATIVE}/kernels/test_operators_reductions.py::test_batched_rows_have_the_bits_of_single_rows"),
    Mutation("the maximum of a short row is at least 0", "native/kernels/reduce_batched.py", "if c < count else splat(neutral))",
             "if c < count else splat(_F(0.0)))",
             f"{NATIVE}/kernels/test_operators_reductions.py::test_special_values_in_batched_short_rows_are_those_of_single_rows"),
    Mutation("observations that lie otherwise are stacked as they lie", "native/kernels/observations.py",
             "_NEEDED = READABLE | 0x1", "_NEEDED = 0",
             "tests/spaces/test_observations.py::test_separate_observations_of_any_layout_and_type_are_the_same_rows"),
    Mutation("softmax leaves denormals", "codegen/math/exponentials.py", "select(x < constant(-80.0)", "select(x < constant(-87.0)",
             "tests/codegen/test_functions.py::test_the_exponential_of_nonpositive_numbers_ends_before_denormals"),
    Mutation("rows that a reshape mixes run together", "native/passes/batch_independence.py",
             "if not after or before % after or rows.const or rows.slope % (before // after):", "if not after:",
             f"{NATIVE}/passes/test_batch_axes.py::test_a_graph_that_mixes_rows_runs_them_one_at_a_time"),
    Mutation("a profile leaves the results of repeated steps", "native/report/step_timer.py", "            view[...] = data\n",
             "            pass\n",
             f"{NATIVE}/report/test_profile.py::test_steps_that_were_timed_one_by_one_leave_the_results_of_a_run"),
    Mutation("the leak check does not look at arrays", "native/report/leaks.py", "self.array_bytes > _SLACK_ARRAY_BYTES or ", "",
             f"{NATIVE}/report/test_leaks.py::test_any_of_the_three_is_enough"),
    Mutation("ops on no list run all rows together", "native/passes/batch_independence.py", "    return None\n\n\ndef _operand",
             "    return set()\n\n\ndef _operand",
             f"{NATIVE}/passes/test_batch_independence.py::test_ops_that_may_mix_rows_get_one_row_at_a_time[Trilu]"),
    Mutation("noise without rows is drawn once for all", "native/passes/batch_independence.py",
             'raise BatchDependenceError(f"node {node} draws one noise for all rows")', "continue",
             f"{NATIVE}/passes/test_batch_independence.py::test_noise_without_rows_is_drawn_for_each_agent"),
    Mutation("results of slower tiers stay views", "native/execution/context.py", "run.values[target] = np.array(result)",
             "run.values[target] = result", f"{NATIVE}/fallback/test_slower_tiers.py::test_what_a_slower_tier_gives_is_kept_as_a_copy"),
    # Heads and the wrappers around them
    Mutation("head: deterministic rows report what the distribution says", "heads/graph_builder.py",
             'return self.add("Where", self.add("Squeeze", flag, np.array([1], np.int64)), 0.0, value)', "return value",
             f"{HEADS}/test_gaussian.py::test_rows_that_draw_and_rows_that_do_not_share_a_batch"),
    Mutation("wrapper: state that is not finite is stored", "native/kernels/storing.py",
             "    if status == 0:\n        _store(", "    if True:\n        _store(",
             "tests/wrappers/test_nonfinite_state.py::test_the_compiled_call_keeps_the_last_finite_state_too"),
    Mutation("agents: who begins again has the first episode", "agents/membership/episodes.py",
             "            return floor\n        return [",
             "            return floor\n        return [0 for _ in ids] or [",
             "tests/agents/test_next_episodes.py::test_noise_of_an_agent_that_begins_again_is_new_and_that_of_its_next_episode"),
    Mutation("head: a threshold is passed one action late", "heads/categorical_graphs.py",
             'g.add("LessOrEqual", sums, ', 'g.add("Less", sums, ',
             f"{HEADS}/test_categorical.py::test_a_masked_action_is_never_drawn"),
    Mutation("head: the uniform number is not scaled to the last sum", "heads/categorical_graphs.py", 'g.add("Mul", uniform, last))',
             'g.add("Mul", uniform, self.total))', f"{HEADS}/test_categorical.py::test_a_masked_action_is_never_drawn"),
    Mutation("head: a row that allows nothing allows nothing", "heads/graph_builder.py",
             '        return self.add("Or", mask, nothing)\n', '        return self.add("And", mask, self.add("Not", nothing))\n',
             f"{HEADS}/test_categorical.py::test_a_row_that_allows_nothing_allows_everything_where_that_is_asked_for"),
    Mutation("head: a weight of zero makes the entropy NaN", "heads/categorical_graphs.py",
             'g.add("Where", g.add("Equal", self.weights, 0.0), 0.0, g.add("Mul", self.weights, self.shifted))',
             'g.add("Mul", self.weights, self.shifted)',
             f"{HEADS}/test_categorical.py::test_probabilities_and_entropy_are_those_of_scipy"),
    Mutation("head: the noise of a deterministic row counts", "heads/gaussian.py",
             'action = g.add("Where", flag, normal.mean, drawn)',
             'action = g.add("Where", g.add("Not", g.add("Or", flag, g.add("Equal", drawn, drawn))), normal.mean, drawn)',
             f"{HEADS}/test_gaussian.py::test_rows_that_draw_and_rows_that_do_not_share_a_batch"),
    Mutation("rows that a batch reads are written over when the pad is full", "batcher/pad.py", " if self.pin_count else self._columns",
             " if False else self._columns",
             "tests/batcher/test_queue.py::test_rows_that_a_batch_still_reads_are_not_written_over"),
    Mutation("a batch that was put back is given back once more when it ends", "agents/runtime/policy_queue.py",
             "            return  # it was requeued after an interrupt\n", "            pass\n",
             "tests/agents/test_interrupts.py::test_a_batch_that_ends_after_it_was_put_back_is_given_back_once"),
    Mutation("rows that a batch reads are written over when all others leave", "batcher/agent_rows.py", "        if pad.pin_count:\n",
             "        if False:\n", "tests/batcher/test_queue.py::test_rows_that_a_batch_still_reads_are_not_written_over"),
    Mutation("head: the slope of tanh as it is written", "heads/gaussian.py",
             '    return g.add("Mul", g.add("Sub", g.add("Sub", math.log(2), size), tail), 2.0)\n',
             '    t = g.add("Tanh", value)\n    return g.add("Log", g.add("Sub", 1.0, g.add("Mul", t, t)))\n',
             f"{HEADS}/test_gaussian.py::test_a_squashed_density_is_finite_wherever_tanh_is_one"),
    Mutation("wrapper: all that sample draw the same noise", "wrappers/sample.py", 'f"Sample {self.names.get(\'action\', head.tensors)}"',
             'f"Sample {head.tensors}"', "tests/wrappers/test_sample.py::test_two_samples_draw_independently"),
    Mutation("wrapper: undeclared sources are shown", "wrappers/sample.py", "(self.hide or name in self._undeclared)", "self.hide",
             "tests/wrappers/test_sample.py::test_any_tensor_of_the_file_is_a_source_and_stays_hidden"),
    Mutation("wrapper: what the caller gives is read without being checked", "wrappers/stack.py",
             'bool(getattr(wrapper, "reads_inputs", True))', "False",
             "tests/wrappers/test_image.py::test_what_the_caller_gives_is_bytes"),
    Mutation("wrapper: a frame counts although its batch failed", "wrappers/frame_stack.py",
             "        view.inputs[self.key] = view.scratch[self] = rows\n",
             "        view.inputs[self.key] = view.scratch[self] = rows\n        slab.scatter(view.slots, rows)\n",
             "tests/wrappers/test_frames.py::test_a_failed_batch_is_no_frame"),
    Mutation("wrapper: first frames of others", "wrappers/frame_stack.py", "np.tile(newest[starts],", "np.tile(newest[:len(starts)],",
             "tests/wrappers/test_frames.py::test_agents_that_begin_at_different_ticks_have_frames_of_their_own"),
    Mutation("wrapper: a guard trips for its whole batch", "wrappers/guard.py", ".reshape(view.n_rows, -1).all(1)", ".all()",
             "tests/wrappers/test_guard.py::test_a_row_that_is_not_finite_gets_the_fallback_in_all_its_floats_and_no_other_row_does"),
    Mutation("wrapper: a guard remembers what is changed further out", "wrappers/guard.py",
             "kept = {name: view.outputs[name].copy() for name in self.slabs}", "kept = {name: view.outputs[name] for name in self.slabs}",
             "tests/wrappers/test_guard.py::test_what_is_remembered_does_not_change_further_out"),
    Mutation("wrapper: statistics may name any function", "wrappers/vecnormalize.py",
             '        raise FormatError(f"expected objects of', '        return super().find_class(module, name)\n        '
             'raise FormatError(f"expected objects of',
             "tests/wrappers/test_normalize.py::test_nothing_in_a_file_is_run"),
    # Snapshots, swaps and the runtime
    Mutation("agents: only the first of those that restart forgets", "agents/membership/table_kernels.py",
             "copy_bytes(rows + word(slots, i) * row_bytes, initial, row_bytes)",
             "copy_bytes(rows + word(slots, 0) * row_bytes, initial, row_bytes)",
             f"{AGENTS}/test_restart_in_place.py::test_restarted_agents_stay_where_a_look_up_finds_them"),
    Mutation("agents: a running batch stores to the next episode", "agents/membership/table.py",
             "return self._restart_in_place is not None and not self._running_batches", "return self._restart_in_place is not None",
             f"{AGENTS}/test_restart_in_place.py::test_a_restart_while_a_batch_runs_leaves_its_slots_alone"),
    Mutation("agents: a restored agent begins its noise again", "agents/policy/membership.py", "0 if saved is None else saved.steps", "0",
             f"{AGENTS}/test_snapshot.py::test_after_a_restore_everything_is_decided_again_bit_for_bit[recurrent_epsilon]"),
    Mutation("agents: a snapshot has the state of others", "agents/policy/snapshot.py", "slabs[name].take(slots, window)",
             "slabs[name].take(slots[::-1], window)",
             f"{AGENTS}/test_snapshot.py::test_after_a_restore_everything_is_decided_again_bit_for_bit[recurrent]"),
    Mutation("agents: a damaged snapshot is believed", "agents/policy/snapshot_format.py", "    if found != expected:\n", "    if False:\n",
             f"{AGENTS}/test_snapshot.py::test_a_changed_bit_is_noticed"),
    Mutation("agents: a part of a snapshot ends the others", "agents/policy/membership.py", "tuple(there) if saved.whole else",
             "tuple(there) if True else",
             f"{AGENTS}/test_snapshot.py::test_a_snapshot_of_some_agents_leaves_the_others_alone"),
    Mutation("agents: state of a batch in flight is lost in a swap", "wrappers/stack.py",
             "                new_wrapper.slabs = old_wrapper.slabs", "                pass",
             f"{AGENTS}/test_swap.py::test_batches_that_run_during_a_swap_keep_their_state"),
    Mutation("agents: a model with other shapes takes over", "agents/policy/replacement.py", "    if found != expected:\n",
             "    if len(found) != len(expected):\n",
             f"{AGENTS}/test_swap.py::test_a_model_that_takes_or_gives_something_else_is_refused"),
    Mutation("agents: a half-written file is read", "agents/policy/watch.py",
             "        if self._changes_within(self._settle_s, file_version):\n", "        if False:\n",
             f"{AGENTS}/test_watch.py::test_a_file_that_is_still_being_written_is_left_alone"),
    Mutation("runtime: a policy that fails keeps its turn", "agents/runtime/policy_queue.py", "        self.requeue(tried, frame + 1)\n",
             "        self.requeue(tried, None)\n", f"{AGENTS}/test_runtime.py::test_a_policy_that_fails_goes_to_the_back_of_the_line"),
    Mutation("sizes: groups of one size come in another order than their agents wait", "batcher/queue.py",
             "np.flatnonzero(~equal), np.arange",
             "np.flatnonzero(~equal)[::-1], np.arange", f"{SIZED}::test_agents_of_one_size_run_as_one_batch"),
    Mutation("sizes: a row is the caller's own memory", "batcher/open_pad.py", "return np.array(row, spec", "return np.asarray(row, spec",
             f"{SIZED}::test_what_was_pushed_is_a_copy"),
    Mutation("sizes: an agent too slow for a frame stops all others", "agents/runtime/sized_queue.py",
             "        self._too_slow = frame, fitted_s\n", "",
             f"{SIZED}::test_agents_too_slow_for_the_budget_keep_no_others_from_deciding"),
    Mutation("sizes: costs are those of whoever was pushed first", "agents/runtime/sized_queue.py",
             "        self.sort_by_urgency(0, frame)\n        return found\n", "        return found\n",
             f"{SIZED}::test_a_budget_goes_by_the_sizes_of_the_most_urgent_agent"),
    Mutation("runtime: an interrupt loses those under way", "agents/runtime/frame_state.py",
             "                queue.requeue(in_flight, None)\n",
             "                pass\n", f"{AGENTS}/test_runtime.py::test_an_interrupt_loses_nobody"),
    Mutation("runtime: who left during a frame decides in it", "agents/runtime/policy_queue.py",
             "in_flight.deterministic,\n" + " " * 50 + "expected_version=in_flight.membership_version)",
             "in_flight.deterministic)",
             f"{AGENTS}/test_runtime.py::test_agents_that_leave_during_a_frame_are_left_out_of_it"),
    Mutation("runtime: what is pushed during a frame decides in it", "agents/runtime/wait_queue.py",
             "            if enqueued_frame.get(agent, frame) <= frame:\n", "            if True:\n",
             f"{AGENTS}/test_runtime.py::test_who_is_pushed_during_a_frame_is_not_taken_with_those_who_wait_in_it"),
    Mutation("runtime: a policy too slow for a frame never runs", "agents/runtime/cost_model.py",
             "        self.fixed_s = max(self.fixed_s * _LOWERING, _MIN_S)\n", "",
             f"{AGENTS}/test_levels.py::test_a_policy_too_slow_for_any_frame_runs_in_the_end"),
    Mutation("runtime: the newest push goes to the front", "agents/runtime/scheduler.py", "-urgencies, kind", "urgencies, kind",
             f"{AGENTS}/test_levels.py::test_no_agent_waits_longer_than_the_bound"),
    Mutation("in time: rows begin whatever the clock says", "native/kernels/runtime/execution.py",
             " or not _is_in_time(ctx, first, n_rows)", "",
             f"{IN_TIME}::test_rows_that_are_said_to_take_long_do_not_begin"),
    Mutation("in time: rows have taken what they were said to take", "native/kernels/runtime/execution.py",
             "        row_ns = (now - context.first_chunk_end) // n_run\n", "        row_ns = context.row_ns\n",
             f"{IN_TIME}::test_a_batch_stops_on_time_by_what_its_rows_have_taken_so_far"),
    Mutation("in time: rows that did not run count a step", "native/kernels/runtime/control.py",
             "n if context.deadline == 0 else context.n_run", "n",
             ALL_ROWS),
    Mutation("in time: the last rows of a batch never run", "native/kernels/runtime/execution.py",
             "first + n_rows > facts.n_rows or ", "first + n_rows >= facts.n_rows or ", ALL_ROWS),
    Mutation("in time: who ended meanwhile waits again", "agents/runtime/policy_queue.py",
             "        if has_remainder and self.policy.membership_version != in_flight.membership_version:\n",
             "        if False:\n",
             f"{IN_TIME}::test_who_ends_meanwhile_waits_no_longer"),
    Mutation("in time: who was pushed meanwhile loses that", "agents/runtime/policy_queue.py", "        wait_queue.merge(newer)\n", "",
             f"{IN_TIME}::test_who_is_pushed_meanwhile_decides_on_the_newest_and_the_others_keep_their_places"),
    Mutation("in time: who is pushed in every flight starves", "agents/runtime/wait_queue.py",
             "{**newer.enqueued_frame, **self.enqueued_frame}",
             "{**self.enqueued_frame, **newer.enqueued_frame}",
             f"{IN_TIME}::test_who_is_pushed_meanwhile_decides_on_the_newest_and_the_others_keep_their_places"),
    Mutation("in time: a piece that fails takes the others with it", "native/kernels/runtime/execution.py",
             "if limited and first > 0:  # earlier", "if first < 0:  # earlier",
             f"{IN_TIME}::test_a_piece_that_fails_ends_the_batch_before_it"),
    Mutation("in time: an interrupt lets a batch be settled twice", "agents/runtime/policy_queue.py",
             "                if in_flight.interrupted:\n",
             "                if False:\n",
             f"{AGENTS}/test_interrupts.py::test_a_push_that_is_interrupted_loses_nobody_whom_the_last_batch_had_no_time_for"),
    Mutation("in time: memory that was pin_count is given back to other memory", "agents/runtime/policy_queue.py",
             "        pad.pin_count -= 1\n        # The original",
             "        wait_queue.queue.pad.pin_count -= 1\n        # The original",
             f"{IN_TIME}::test_when_all_the_others_end_meanwhile_the_next_batch_keeps_its_rows"),
    Mutation("runtime: of equal policies the one that was pushed first comes first", "agents/runtime/queue_state.py",
             "self.last_frame, self.number",
             "self.last_frame, 0", f"{AGENTS}/test_runtime.py::test_of_equal_policies_the_one_that_was_added_first_comes_first"),
    Mutation("runtime: a push that is interrupted is not noticed", "agents/runtime/waiting_agents.py",
             "        self._ready_queue.dirty[self] = None\n        before = wait_queue.queue.changes\n        wait_queue.put_columns",
             "        before = wait_queue.queue.changes\n        wait_queue.put_columns",
             f"{AGENTS}/test_interrupts.py::test_who_pushes_again_after_an_interrupt_decides"),
    Mutation("in time: those who wait again are not told of", "agents/runtime/queue_state.py",
             "                return in_flight.ids[in_flight.n_run:]\n",
             "                return ()\n", f"{IN_TIME}::test_those_without_time_wait_in_front_of_newer_ones"),
    Mutation("in time: a frame settles its own batches", "agents/runtime/scheduler.py", "if limit is not None and not limit.began_s:",
             "if True:",
             f"{AGENTS}/test_levels.py::test_what_a_frame_measured_is_learnt_after_it"),
    Mutation("in time: garbage is collected all the same", "agents/runtime/runtime.py", "                gc.disable()\n",
             "                pass\n",
             f"{IN_TIME}::test_python_collects_no_garbage_while_a_budget_runs"),
    Mutation("runtime: turns of a crowd fall into one frame", "agents/runtime/level_of_detail.py",
             "            self.phases[every] = (phase + 1) % every\n", "",
             f"{AGENTS}/test_levels.py::test_agents_decide_at_once_and_then_in_every_fourth_frame_each_in_its_own"),
    Mutation("runtime: who is pushed without a word is not told of", "agents/runtime/waiting_agents.py",
             "            wait_queue.look_at_head()\n            self._notify()\n        else:", "            pass\n        else:",
             f"{AGENTS}/test_compiled_pushes.py::test_pushes_of_a_crowd_that_decides_in_every_frame_are_compiled"),
    Mutation("runtime: agents are added to a queue that somebody holds", "native/kernels/observations.py",
             "    if counted and word(word(objects, 3) + LOCK_OWNER, 0) != 0:\n        return 0\n", "",
             f"{AGENTS}/test_compiled_pushes.py::test_nobody_is_added_while_somebody_holds_the_lock"),
    Mutation("runtime: agents are added while others change who is there", "native/kernels/observations.py",
             " or word(r.writer, 0) != 0", "",
             f"{AGENTS}/test_compiled_pushes.py::test_nobody_is_added_while_agents_change"),
    Mutation("runtime: deterministic flags stay", "agents/runtime/waiting_agents.py",
             "            self.deterministic.difference_update(ids)\n",
             "            pass\n",
             f"{AGENTS}/test_runtime.py::test_deterministic_is_said_agent_by_agent"),
    # Environments; most tests need the extra envs-test and are skipped without it
    Mutation("envs: last observations are those of the next episode", "envs/sources/gymnasium_vector.py",
             "                following = put(observation, ended, last_observations(self.observation_space, infos, ended))\n",
             "                pass\n",
             f"{ENVS}/test_autoreset.py::test_all_modes_give_the_same_episodes"),
    Mutation("envs: an action is computed for a step that only resets", "envs/actor.py",
             "if timestep.mid_episode or np.count_nonzero(timestep.acts) == len(rows):", "if True:",
             f"{ENVS}/test_autoreset.py::test_rows_that_are_decided_are_the_actions_that_the_environment_executes"),
    Mutation("envs: a turn-based game pays the learner what its opponent gets", "envs/multiagent/aec_match.py",
             "        observation, reward, terminated, truncated, info = self.env.last()\n",
             "        observation, reward, terminated, truncated, info = self.env.last()\n"
             "        reward = next((paid for agent, paid in self.env._cumulative_rewards.items() if agent != learner), reward)\n",
             f"{ENVS}/test_opponents.py::test_the_learner_gets_what_it_wins_and_what_it_loses"),
    Mutation("envs: episodes are one step short from the second on", "envs/play.py", "        self._lengths[rows] += after.valid\n",
             "        self._lengths[rows] += after.valid & (~timestep.fresh | (self._begun[rows] < 2))\n",
             f"{ENVS}/test_play.py::test_every_episode_of_a_constant_game_counts_the_same_in_each_mode"),
    Mutation("envs: NEXT_STEP is assumed where nothing is said", "envs/autoreset.py", "    mode = None if said is None else checked_mode",
             "    mode = AutoresetMode.NEXT_STEP if said is None else checked_mode",
             f"{ENVS}/test_autoreset.py::test_the_mode_is_asked_for_where_the_metadata_do_not_say_it"),
    Mutation("envs: masks in infos are forgotten", "envs/sources/base.py",
             'masks = infos.get("action_mask") if isinstance(infos, dict) else None', "masks = None",
             f"{ENVS}/test_autoreset.py::test_masks_are_obeyed_in_every_mode"),
    Mutation("envs: actions are not unscaled", "spaces/actions.py", 'return low, high, box == "unscale"', "return low, high, False",
             f"{ENVS}/test_sb3.py::test_actions_are_those_of_the_library_s_own_predict[sac]"),
    Mutation("envs: statistics move while a policy plays", "envs/sources/stable_baselines.py", "            layer.training = False\n",
             "            pass\n", f"{ENVS}/test_sb3.py::test_statistics_around_the_environment_never_move"),
    Mutation("envs: returns are those of wrapped rewards", "envs/play.py",
             "rewards = after.reward if after.innermost is None else after.innermost", "rewards = after.reward",
             f"{ENVS}/test_play.py::test_rewards_are_the_innermost_ones"),
    Mutation("envs: memory survives an episode's end", "envs/actor.py",
             "            self.policy.restart_agents(self._ids(rows), self._stream, episodes)\n", "            pass\n",
             f"{ENVS}/test_rollout.py::test_memory_begins_anew_with_each_episode_and_is_carried_within_it"),
    Mutation("envs: the dead stay among a policy's agents", "envs/multiagent/parallel_match.py",
             "        self.roster.death(agent for agent in self.agents if agent not in remaining)\n", "",
             f"{ENVS}/test_crowd.py::test_the_arena_is_born_and_dies_in_step_with_its_policies"),
    Mutation("envs: a dead agent decides in its last turn", "envs/multiagent/aec_match.py",
             "        if env.terminations[agent] or env.truncations[agent]:\n", "        if False:\n",
             f"{ENVS}/test_deaths.py::test_the_dead_are_not_decided_for_in_turns"),
    Mutation("envs: from the second reset on a game is another one each time", "envs/multiagent/roster.py",
             "self.stream = int(words[0] >> np.uint64(1))",
             "self.stream = int(words[0] >> np.uint64(1)) ^ (id(self) >> 4 & 0xFFFF if self._resets else 0)",
             f"{ENVS}/test_deaths.py::test_the_same_seed_is_the_same_game_through_deaths_and_a_second_reset"),
    Mutation("envs: time-outs are terminal", "envs/sources/stable_baselines.py", "ended & ~cut, cut, following",
             "ended, cut & ~ended, following",
             f"{ENVS}/test_sb3.py::test_time_limits_of_a_vecenv_are_truncations"),
    Mutation("envs: of rows only the first is recorded", "envs/recorder.py", "        stepped = np.flatnonzero(~fresh)\n",
             "        stepped = np.flatnonzero(~fresh)[:1]\n",
             f"{ENVS}/test_recorder.py::test_rollout_tells_what_was_decided_in_each_mode"),
    Mutation("envs: infos have another tree where a key is missing", "envs/info_columns.py",
             '            found[f"_{key}"] = there\n', "            pass\n",
             f"{ENVS}/test_recorder.py::test_infos_that_differ_between_reset_and_step_have_one_tree"),
    Mutation("envs: a dataset may lack its last observation", "recording/minari_writing.py",
             '        _check_space(spaces["observations"], episode.observations, len(episode) + 1, f"{where}, observations")\n', "",
             "tests/recording/test_minari.py::test_what_minari_would_take_wrongly_is_refused_and_leaves_nothing"),
    Mutation("envs: pictures become JPEG", "recording/minari_writing.py", "jpeg_encoding=False", "jpeg_encoding=True",
             f"{ENVS}/test_pixels.py::test_pictures_go_to_minari_and_back_bit_for_bit"),
    Mutation("envs: an episode depends on how many environments there are", "envs/rollout.py",
             "return rows + self._source.n_envs * self._episodes[rows]", "return 1000 * rows + self._episodes[rows]",
             f"{ENVS}/test_rollout.py::test_episode_k_of_a_seed_is_the_same_in_one_environment_or_many"),
    Mutation("envs: a game rebuilt from its spec has a default", "envs/opponents_spec.py", ', "per": per}', "}",
             f"{ENVS}/test_registration.py::test_an_environment_rebuilt_from_its_spec_acts_the_same"),
    Mutation("envs: a policy sent to a process draws other noise", "agents/policy/policy.py",
             "policy = Policy(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads, spaces=spaces)",
             "policy = Policy(model, inferer=inferer, wrappers=wrappers, seed=seed + 1, threads=threads, spaces=spaces)",
             f"{ENVS}/test_registration.py::test_other_processes_give_the_same_bits[spawn]"),
    Mutation("envs: a recorded turn has the reward of one move", "envs/turn_recorder.py",
             "        observation, reward, terminated, truncated, info = env.last()\n",
             "        observation, _, terminated, truncated, info = env.last()\n        reward = env.rewards[agent]\n",
             f"{ENVS}/test_rewards_in_turns.py::test_recorded_rewards_are_those_of_the_actions_beside_them"),
    Mutation("envs: all rows begin anew when one has ended", "envs/sources/gymnasium_vector.py", '{"reset_mask": ended.copy()}',
             '{"reset_mask": np.ones_like(ended)}',
             f"{ENVS}/test_autoreset.py::test_each_row_begins_again_when_its_own_episode_ends_and_no_other[disabled]"),
    Mutation("envs: an episode goes on although a step of it could not be recorded", "envs/episode_log.py",
             "            self._handles.clear()\n            self._failed = True\n", "            pass\n",
             f"{ENVS}/test_recorder_refusals.py::test_an_environment_on_a_full_disk_says_so_and_no_episode_has_a_gap"),
    # The bridge: what users of other bridges suffered from
    Mutation("bridge: a poll waits for the server", "bridge/client/blocking.py",
             '        """Receives and sends without waiting."""\n        with self._lock:\n            self._exchange(0.0)\n',
             '        """Receives and sends without waiting."""\n        with self._lock:\n            self._exchange(1.0)\n',
             f"{BRIDGE}/test_a_games_frame.py::test_poll_returns_within_a_frame_whatever_the_server_does[stops]"),
    Mutation("bridge: a time-out gives a list of guesses", "bridge/client/blocking.py",
             'f"{self.address}, {pending._step}: expected an answer within {allowed} s, got none yet; it may "',
             'f"no answer: is the server running, is the port right, is a firewall on? it may "',
             f"{BRIDGE}/test_a_games_frame.py::test_without_an_answer_there_is_an_error_and_never_a_substitute"),
    Mutation("bridge: without an answer the game goes on with something else", "bridge/client/pending.py",
             "        self._client._wait(self, timeout_s)\n",
             "        try:\n            self._client._wait(self, timeout_s)\n        except BridgeError:\n            return {}\n",
             f"{BRIDGE}/test_a_games_frame.py::test_without_an_answer_there_is_an_error_and_never_a_substitute"),
    Mutation("bridge: a lost server is a made-up answer", "bridge/client/pending.py",
             "        if self._error is not None:\n            raise self._error\n", "",
             f"{BRIDGE}/test_a_games_frame.py::test_without_an_answer_there_is_an_error_and_never_a_substitute"),
    Mutation("bridge: a message over the WebSocket buffer ends the server's connection", "bridge/websocket_listener.py",
             "max_size=server.limits.frame_bytes", "max_size=1 << 16",
             f"{BRIDGE}/test_websocket.py::test_a_game_over_a_websocket_with_replies_of_a_megabyte"),
    Mutation("bridge: a message over the WebSocket buffer ends Godot's connection", "../clients/godot/cervello_client_3.gd",
             "\t\t_ws.set_buffers(frame_bytes / 1024 + 1, 256, frame_bytes / 1024 + 1, 256) # Godot's own is 64 KiB\n", "",
             f"{CLIENTS}/test_large_and_deep.py::test_replies_of_a_megabyte_arrive_over_a_websocket[godot3]"),
    Mutation("bridge: Godot's client has no WebSockets", "../clients/godot/cervello_client_3.gd",
             'if address.begins_with("ws://") or address.begins_with("wss://"):', 'if address.begins_with("wss://"):',
             f"{CLIENTS}/test_served.py::test_clients_are_answered_what_the_policy_decides[godot3-hunter]"),
    Mutation("bridge: a client in C needs a library", "../clients/c/cervello.h", "#include <stdint.h>\n",
             "#include <stdint.h>\n#include <msgpack.h>\n",
             f"{CLIENTS}/test_node_and_pages.py::test_clients_need_nothing_installed_and_nothing_built"),
    Mutation("bridge: pages cannot connect", "bridge/websocket_listener.py",
             "origins=[None, *(Origin(origin) for origin in origins)]", "origins=[None]",
             f"{CLIENTS}/test_node_and_pages.py::test_a_page_plays_through_a_websocket_and_one_that_is_not_listed_is_told_why_not"),
    Mutation("bridge: every page of the web may connect", "bridge/websocket_listener.py",
             "origins=[None, *(Origin(origin) for origin in origins)], ", "",
             f"{BRIDGE}/test_websocket.py::test_other_protocols_and_pages_that_are_not_listed_are_refused"),
    Mutation("bridge: a page is not told why it reached nothing", "../clients/javascript/cervello.mjs",
             "is this page's origin allowed `\n      + `(--allow-origin), and may it reach the local network${permission}?`",
             "is the server running?`",
             f"{CLIENTS}/test_node_and_pages.py::test_a_page_plays_through_a_websocket_and_one_that_is_not_listed_is_told_why_not"),
    Mutation("bridge: the port stays in use after a crash", "bridge/listening.py",
             '        if os.name == "posix":  # reuses', '        if os.name == "none":  # reuses',
             f"{BRIDGE}/test_processes.py::test_a_server_that_goes_away_one_that_dies_and_lost_agents_are_three_errors"),
    Mutation("bridge: a busy port is not named", "bridge/listening.py",
             'f"listen {address}: expected a free address, got {error.strerror or error}; {_remedy(error)}"',
             '"listen: expected a free address"',
             f"{BRIDGE}/test_processes.py::test_a_busy_port_is_named_and_options_that_make_no_sense_are_refused"),
    Mutation("bridge: memory grows with every episode", "bridge/served_policy.py", "            self._numbers.pop(key, None)\n",
             "            pass\n",
             f"{BRIDGE}/test_agents.py::test_ten_thousand_episodes_leave_nothing_behind"),
    Mutation("bridge: an episode without an action is an error", "bridge/agent_methods.py",
             '    job.client.agents_of(served.name).find(ids, "they have ended already, or never begun; leave them out")\n    terminated',
             "    assert all(each.n_steps + len(each.ticks) for each in job.client.agents_of(served.name).find(ids))\n    terminated",
             f"{BRIDGE}/test_lives.py::test_rewards_belong_to_the_last_inference_or_to_a_tick_of_the_last_64[False]"),
    Mutation("bridge: an episode without an action is recorded", "recording/assembly.py", "        if opened.n_steps:\n",
             "        if True:\n",
             f"{BRIDGE}/test_lives.py::test_rewards_belong_to_the_last_inference_or_to_a_tick_of_the_last_64[True]"),
    Mutation("bridge: replies of one batch are mixed up", "bridge/inference.py", "{name: rows[at:end] for name, rows in columns.items()}",
             "{name: rows[:end - at] for name, rows in columns.items()}",
             f"{BRIDGE}/test_inference.py::test_requests_of_several_connections_run_as_one_batch_with_the_same_bits"),
    Mutation("bridge: known requests of one batch are mixed up", "bridge/inference.py",
             "data[at * n_bytes:end * n_bytes]", "data[:(end - at) * n_bytes]",
             f"{BRIDGE}/test_layouts.py::test_requests_of_several_connections_are_one_batch_and_each_gets_its_own"),
    Mutation("bridge: a server goes away without a word", "bridge/session.py",
             '            self._transport.send(refuse(None, Code.DRAINING, "the server is going away"))\n', "",
             f"{BRIDGE}/test_processes.py::test_a_server_that_goes_away_one_that_dies_and_lost_agents_are_three_errors"),
    Mutation("bridge: a server that stops leaves episodes open", "bridge/server.py", "            self.state.remove(session)  # its agents",
             "            pass  # its agents",
             f"{BRIDGE}/test_lives.py::test_a_client_that_stays_to_the_end_of_a_short_drain_has_its_episodes_ended"),
    Mutation("bridge: a server that stops cuts its last answers off", "bridge/stream_transport.py",
             "not self._transport.get_write_buffer_size() or time.monotonic() > until_s", "True",
             f"{BRIDGE}/test_lives.py::test_a_slow_reader_gets_its_reply_while_the_server_drains"),
    Mutation("bridge: a client that has closed and reads nothing keeps its agents", "bridge/stream_transport.py",
             "            self._session.lost()\n        if", "            pass\n        if",
             f"{BRIDGE}/test_lives.py::test_a_client_that_reads_nothing_and_shuts_down_its_sending_side_has_closed"),
    Mutation("bridge: lost agents are not told", "bridge/client/blocking.py", "        if lost:\n            raise AgentsLostError",
             "        if False:\n            raise AgentsLostError",
             f"{BRIDGE}/test_processes.py::test_a_server_that_goes_away_one_that_dies_and_lost_agents_are_three_errors"),
    Mutation("bridge: a server that crashes passes its test", "../tests/support/server_process.py",
             "            assert status == 0,", "            assert status in (0, -9),",
             f"{BRIDGE}/test_a_games_frame.py::test_a_server_that_dies_or_logs_an_error_fails_its_test"),
    Mutation("bridge: a server that logs an error passes its test", "../tests/support/server_process.py",
             "            assert not errors,", "            assert True,",
             f"{BRIDGE}/test_a_games_frame.py::test_a_server_that_dies_or_logs_an_error_fails_its_test"),
    Mutation("bridge: a client that crashes passes its test", "../tests/bridge_clients/languages.py",
             '    assert (done.returncode, done.stderr) == (0, "")', '    assert done.stderr == ""',
             f"{CLIENTS}/test_clients.py::test_a_client_that_ends_abnormally_or_complains_fails_its_test"),
    Mutation("bridge: slow policies run on the event loop", "bridge/worker.py",
             " or n_others > _MOST_OTHERS or not known\n"
             "                or not self.times.allows(self.served.policy.version, len(jobs), n_rows)):",
             "):", f"{BRIDGE}/test_websocket.py::test_pings_are_answered_and_nobody_is_dropped_while_a_policy_runs"),
    Mutation("bridge: nested headers are decoded by the server", "bridge/scan.py", "        if len(levels) >= DEPTH:\n",
             "        if False:\n",
             f"{BRIDGE}/test_scan.py::test_seventy_two_kilobytes_of_nested_headers_cost_under_one_megabyte"),
    Mutation("bridge: nested headers are decoded by a client", "../clients/javascript/cervello.mjs", "const DEEPEST = 8;",
             "const DEEPEST = 1e9;", f"{CLIENTS}/test_node_and_pages.py::test_a_bomb_costs_node_under_a_megabyte"),
    Mutation("bridge: a request over msgpack's own limit ends the connection", "bridge/envelope.py", "max_bin_len=len(body)",
             "max_bin_len=min(len(body), 1 << 20)",
             f"{BRIDGE}/test_a_games_frame.py::test_replies_and_requests_of_megabytes_arrive_and_longer_ones_name_the_limit"),
    Mutation("bridge: a request over the server's limit ends the connection", "bridge/client/blocking.py", "        if len(body) > most:\n",
             "        if False:\n",
             f"{BRIDGE}/test_a_games_frame.py::test_replies_and_requests_of_megabytes_arrive_and_longer_ones_name_the_limit"),
    Mutation("bridge: small frames wait for an acknowledgement", "bridge/stream_transport.py", "socket.TCP_NODELAY, 1)",
             "socket.TCP_NODELAY, 0)",
             f"{BRIDGE}/test_a_games_frame.py::test_no_frame_waits_for_a_delayed_acknowledgement"),
    Mutation("bridge: the server's small frames wait for an acknowledgement", "bridge/stream_transport.py",
             '        set_socket_options(transport.get_extra_info("socket"))\n', "",
             f"{BRIDGE}/test_a_games_frame.py::test_the_server_sends_small_frames_at_once"),
    Mutation("bridge: agents end before the inference that was sent first", "bridge/dispatcher.py",
             "return job.method != \"infer\" or not all(", "return job.method == \"infer\" and not all(",
             f"{BRIDGE}/test_agents.py::test_end_begin_and_infer_may_be_sent_in_one_frame_of_the_game"),
    Mutation("bridge: a step in lockstep waits for a clock", "bridge/client/connection.py",
             "        select.select([self._socket], [self._socket] if self._outgoing else [], [], most_s)\n",
             '        __import__("time").sleep(min(most_s, 0.005))\n',
             f"{BRIDGE}/test_a_games_frame.py::test_steps_in_lockstep_wait_for_no_clock"),
    Mutation("bridge: a late answer has no tick", "bridge/inference.py", '            result["tick"] = self.tick\n', "            pass\n",
             f"{BRIDGE}/test_a_games_frame.py::test_late_answers_carry_their_tick_and_can_be_dropped"),
    Mutation("bridge: each game's request is a run of its own", "bridge/worker.py",
             "waiting = self._timed(waiting, done, on_loop=False)", "waiting = self._timed(waiting[:1], done, on_loop=False) + waiting[1:]",
             f"{BRIDGE}/test_a_games_frame.py::test_many_games_at_once_share_runs_and_each_reply_is_the_local_one"),
    Mutation("bridge: a compiled answer goes on after a revoked proof", "bridge/compiled_answer.py",
             " or (self._proof != worker.times.n_revoked and not self._is_proven())):", "):",
             f"{BRIDGE}/test_compiled_answers.py::test_a_revoked_proof_ends_compiled_answers_until_the_size_is_proven_again"),
    Mutation("bridge: compiled code keeps addresses of a table that has moved", "native/kernels/runtime/readiness.py",
             " or word(versions, 0) != r.slots_version:", ":",
             f"{BRIDGE}/test_compiled_answers.py::test_a_table_that_grows_between_two_answers_is_looked_up_again"),
    Mutation("bridge: compiled code keeps the plan of another size", "native/kernels/runtime/readiness.py",
             " or word(current, 1) != n_rows", "",
             f"{BRIDGE}/test_compiled_answers.py::test_other_sizes_that_take_the_plan_s_place_are_noticed"),
    Mutation("bridge: compiled code runs beside the holder of the exclusive lock", "native/kernels/runtime/readiness.py",
             "return plan if call_c_1(r.dict_size, r.holder) == 0 else 0", "return plan",
             f"{BRIDGE}/test_compiled_answers.py::test_while_another_thread_has_the_exclusive_lock_the_general_path_answers"),
    Mutation("bridge: compiled code decides with the engine of before a swap", "agents/policy/core.py",
             "            old.fast_path.invalidate()  # first", "            pass  # first",
             f"{BRIDGE}/test_compiled_answers.py::test_the_first_answer_after_a_swap_is_the_new_version_s[replace]"),
    # Offline evaluation: what misled users of other libraries
    Mutation("evaluation: propensities that nobody logged are 1", "evaluation/scoring.py", "    if each.logp is None:\n",
             "    if each.logp is None:\n        return np.zeros(each.length)\n    if each.logp is None:\n",
             f"{EVALUATION}/test_refusals.py::test_refusals_say_where_and_what_to_do"),
    Mutation("evaluation: episodes that have ended lose their weight", "evaluation/table.py", "return np.cumsum(self.log_ratio, 1)",
             "return np.where(self.alive, np.cumsum(self.log_ratio, 1), -np.inf)",
             f"{EVALUATION}/test_definitions.py::test_estimates_of_episodes_that_end_in_every_way_are_those_of_the_definitions"),
    Mutation("evaluation: fresh actions are scored", "evaluation/scoring.py",
             "every[np.arange(len(every)), some.choices]",
             "every[np.arange(len(every)), np.random.default_rng(0).integers(every.shape[1], size=len(every))]",
             f"{EVALUATION}/test_evaluate.py::test_the_logged_actions_are_scored_and_not_fresh_ones"),
    Mutation("evaluation: clipped actions are scored", "evaluation/logged.py", "actions if sampled is None else sampled,", "actions,",
             f"{EVALUATION}/test_evaluate.py::test_clipped_and_saturated_actions_have_weight_1_from_what_was_recorded"),
    Mutation("evaluation: squashed actions are inverted", "evaluation/candidates.py", "if pre_tanh is not None and", "if False and",
             f"{EVALUATION}/test_evaluate.py::test_clipped_and_saturated_actions_have_weight_1_from_what_was_recorded"),
    Mutation("evaluation: products of ratios overflow", "evaluation/table.py",
             "log_weight - np.where(np.isfinite(top), top, 0.0)\n", "log_weight + np.zeros_like(top)\n",
             f"{EVALUATION}/estimators/test_truths.py::test_products_over_a_thousand_steps_stay_finite_where_they_are_normalised"),
    Mutation("evaluation: the tail has no say in the verdict", "evaluation/diagnostics.py", "if not bound < limit and", "if False and",
             f"{EVALUATION}/test_trust.py::test_a_heavy_tail_decides_though_the_effective_sample_size_looks_fine"),
    Mutation("evaluation: a cut episode goes on from its last observation", "evaluation/scored.py", "if lacking.any():", "if False:",
             f"{EVALUATION}/test_trust.py::test_datasets_with_as_many_observations_as_actions_are_refused_where_the_last_one_is_needed"),
    Mutation("evaluation: agents of a match are resampled apart", "evaluation/scored.py", "return None if self._n_units == self.n else",
             "return None if True else", f"{EVALUATION}/test_evaluate.py::test_agents_of_a_match_are_resampled_and_counted_together"),
    Mutation("evaluation: Hoeffding's bracket is misplaced", "statistics/concentration.py", "sqrt(log(2 / delta) / (2 * n))",
             "sqrt(log(2 / delta) / 2 * n)",
             f"{EVALUATION}/test_concentration.py::test_bounds_are_those_of_hoeffding_and_of_maurer_and_pontil"),
    Mutation("evaluation: the normaliser is fixed outside the resample", "evaluation/moments.py",
             "    return divided(sums[:, 0], sums[:, 1])\n",
             "    return divided(sums[:, 0], sums[:1, 1] if len(sums) > 1 else sums[:, 1])\n",
             f"{EVALUATION}/test_evaluate.py::test_intervals_are_those_of_scipy_on_the_same_resamples"),
    Mutation("evaluation: a probability and its logarithm contradict each other", "evaluation/logged.py",
             "_refuse(np.abs(np.exp(logs) - odds) > 1e-5", "_refuse(np.abs(np.exp(logs) - odds) > 1e9",
             f"{EVALUATION}/test_refusals.py::test_refusals_say_where_and_what_to_do"),
    Mutation("evaluation: the reset's element is the first propensity", "evaluation/logged.py", "        odds = odds[1:T + 1]\n",
             "        odds = odds[:T]\n", f"{EVALUATION}/test_evaluate.py::test_probabilities_without_logarithms_do_as_well"),
    Mutation("evaluation: values are fitted to the observation before", "evaluation/values.py", "some.goes_on * v[some.logged + 1]",
             "some.goes_on * v[some.logged]", f"{EVALUATION}/test_evaluate.py::test_fitted_q_evaluation_finds_the_value_of_a_chain"),
    Mutation("evaluation: values that never settle are not said to", "evaluation/values.py", "        converged &= settled or",
             "        converged &= True or",
             f"{EVALUATION}/test_evaluate.py::test_value_functions_that_never_settle_are_said_not_to_have_converged"),
    Mutation("evaluation: values are from fits that saw the episode", "evaluation/values.py", "train = some.episode % folds != fold",
             "train = some.episode >= 0", f"{EVALUATION}/test_trust.py::test_no_episodes_values_are_from_a_fit_that_saw_it"),
    Mutation("evaluation: the report's verdict is the kindest", "evaluation/diagnostics.py", "return max(verdicts, key=ORDER.index)",
             "return min(verdicts, key=ORDER.index)",
             f"{EVALUATION}/test_trust.py::test_the_report_has_one_verdict_which_is_the_worst"),
    Mutation("evaluation: the lowest of tied actions counts alone", "evaluation/scoring.py", "matched = (chosen == top) / ties",
             "matched = (every.argmax(1) == some.choices).astype(np.float64)",
             f"{EVALUATION}/test_evaluate.py::test_ties_and_deterministic_policies_are_counted_and_said"),
    Mutation("evaluation: a policy without chance is not said to have none", "evaluation/scoring.py",
             "its.deterministic &= bool((np.exp(top) >= 1 - 1e-9).all())", "its.deterministic &= False",
             f"{EVALUATION}/test_evaluate.py::test_ties_and_deterministic_policies_are_counted_and_said"),
    Mutation("evaluation: marginalised sampling gives the average reward", "evaluation/estimators/mis.py",
             "    return _mean(paid, table.counts)\n", "    return _mean(paid, table.by_unit(table.length.astype(np.float64)))\n",
             f"{EVALUATION}/estimators/test_truths.py::test_a_reward_of_minus_one_gives_marginalised_sampling_minus_the_mean_length"),
    Mutation("evaluation: data are read once more for another candidate", "evaluation/evaluate.py", "    source = open_dataset(dataset)\n",
             "    source = open_dataset(dataset)\n    list(source)\n",
             f"{EVALUATION}/test_trust.py::test_data_are_read_once_for_all_candidates"),
    Mutation("evaluation: estimates are without intervals", "evaluation/make_estimate.py", "moments.value, found, kind, verdict.name",
             "moments.value, None, kind, verdict.name", f"{EVALUATION}/test_trust.py::test_no_estimate_is_without_an_interval"),
    Mutation("evaluation: the best is the highest point", "evaluation/report.py", "key=lambda each: found[each][0]",
             "key=lambda each: self.policies[each][chosen].value",
             f"{EVALUATION}/test_selection.py::test_the_best_has_the_highest_lower_end_of_intervals_at_a_level_for_all_and_not_the_highest_point"),
    Mutation("evaluation: ticks of a match are steps", "evaluation/blocks.py", "    found[order] = count - ",
             "    found[order] = values[order] - values.min() + 0 * ",
             f"{EVALUATION}/test_definitions.py::test_agents_of_a_match_weigh_alone_or_together_by_the_ticks_at_which_they_decided"),
]
_MOST_S = 300.0  # what takes longer hangs, which nobody would overlook
_LEFT_OUT = re.compile(r"found no collectors for (\S+)")  # of a file that is skipped as a whole: a package is not installed
_BROKEN = ("CompilationError", "SyntaxError", "ImportError", "ModuleNotFoundError", "NumbaError", "TypingError", "NameError")
_EXTRA = {"native/kernels/lane_trees.py": (
    "def _tree(", "_NARROW = __import__('cervello.codegen.cache').codegen.cache.cpu()[0] == 'haswell'\n\n\ndef _tree(")}


def _copied(folder: Path) -> Path:
    copy = folder / "copy"
    for name in ("cervello", "tests", "clients", "scripts", "examples"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def _mutated(mutation: Mutation, folder: Path) -> Path:
    """A copy of package and tests with one change.

    Raises:
      ValueError: the old text does not occur exactly once.
    """
    copy = _copied(folder)
    path = copy / "cervello" / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file}: expected the old text once, found it {text.count(mutation.old)} times:\n{mutation.old}")
    text = text.replace(mutation.old, mutation.new)
    if "_NARROW" in mutation.new:
        text = text.replace(*_EXTRA[mutation.file], 1)
    path.write_text(text, encoding="utf-8")
    return copy


def _tested(tests: list[str], copy: Path, code: Path, most_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Runs tests on a copy. The code cache is shared by all: its folders are named by the kernels' sources, mutated or not.

    Raises:
      subprocess.TimeoutExpired: they took more than so many seconds, and were stopped.
    """
    environment = os.environ | {"PYTHONPATH": str(copy), "CERVELLO_CACHE_DIR": str(code)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=most_s)


def _verdict(mutation: Mutation, code: Path) -> tuple[str, str]:
    """"killed" when the test fails, "survived" when it passes, else what went wrong; and the failure's own words."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy = _mutated(mutation, Path(folder))
        except ValueError as error:
            return "does not apply", str(error)
        try:
            result = _tested(mutation.test.split(" "), copy, code, _MOST_S)
        except subprocess.TimeoutExpired:
            return "killed", f"hangs: stopped after {_MOST_S:.0f} s"
    reason = next((line[2:].strip() for line in result.stdout.splitlines() if line.startswith("E  ")), "")
    if result.returncode == 0:
        return ("survived" if " passed" in result.stdout else "skipped" if " skipped" in result.stdout else "no test ran"), ""
    if any(word in result.stdout + result.stderr for word in _BROKEN):
        return "does not compile", reason
    if (result.returncode == 1 and " failed" in result.stdout) or result.returncode < 0:
        return "killed", reason or "the process crashed"
    return "no verdict", (result.stdout + result.stderr)[-800:]


def _timed(mutation: Mutation, code: Path) -> tuple[str, str, float]:
    """As `_verdict`, and the seconds it took."""
    start = time.perf_counter()
    return *_verdict(mutation, code), time.perf_counter() - start


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as code:
        return _judge(words, Path(code))


def _judge(words: list[str], code: Path) -> int:
    few = "--few" in words
    words = [word for word in words if word != "--few"]
    chosen = [m for m in MUTATIONS if all(word in m.what for word in words)]
    if few:
        folders: dict[str, list[Mutation]] = {}
        for m in chosen:
            folders.setdefault(m.file.rpartition("/")[0], []).append(m)
        chosen = [some[0] for some in folders.values()]
    if not chosen:
        print(f"expected a mutation whose description has all of {words}, found none")
        return 2
    verdicts = []
    print("without a mutation … ", end="", flush=True)
    tests = {test for m in chosen for test in m.test.split(" ")}
    with tempfile.TemporaryDirectory() as folder:  # a test that fails anyway proves nothing
        copy = _copied(Path(folder))
        sound = _tested(sorted(tests), copy, code)
        left_out = {test for test in tests if any(name.endswith(test) for name in _LEFT_OUT.findall(sound.stdout + sound.stderr))}
        if left_out:
            sound = _tested(sorted(tests - left_out), copy, code)
    print("all pass" if sound.returncode == 0 else f"FAILS\n{sound.stdout[-3000:]}{sound.stderr[-1000:]}", flush=True)
    if sound.returncode:
        return 1
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        chosen = [m for m in chosen if left_out.isdisjoint(m.test.split(" "))]
        for i, (mutation, (verdict, reason, seconds)) in enumerate(zip(chosen, pool.map(partial(_timed, code=code), chosen), strict=True)):
            verdicts.append(verdict)
            print(f"[{i + 1}/{len(chosen)}] {mutation.what} … {verdict} ({seconds:.0f} s) {reason[:150]}", flush=True)
    width = max((len(m.what) for m in chosen), default=0)
    print()
    for mutation, verdict in zip(chosen, verdicts, strict=True):
        print(f"{mutation.what:<{width}}  {verdict:<10}  {mutation.file}  {mutation.test.rpartition('::')[2]}")
    bad = sum(verdict not in ("killed", "skipped") for verdict in verdicts)  # skipped: this CPU cannot run that test
    print(f"\n{verdicts.count('killed')} of {len(chosen)} mutations killed")
    if left_out:
        print(f"left out, since packages are not installed: {', '.join(sorted(left_out))}")
    return 1 if bad or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
