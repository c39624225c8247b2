"""`cervello plan`: the memory of a run, step by step."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from cervello.cli import compiling, options, pictures
from cervello.cli.formatting import plain, plural, size
from cervello.cli.terminal import Terminal

if TYPE_CHECKING:
    from cervello.native import MemoryPlan

SUMMARY = "the memory plan of a policy: arena, lifetimes, offsets, tiers"
EXAMPLES: tuple[str, ...] = ("cervello plan racer.onnx -b 64",
                              "cervello plan racer.onnx --picture arena.svg --graph graph.svg")


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_batch(parser)
    pictures.add(parser, "the arena over time", "--svg")
    parser.add_argument("--graph", metavar="FILE", type=pictures.picture_file, help="also draw the steps, what flows between them, and "
                                                                                    "their tiers")
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.native import Model

    with compiling.shown(terminal), terminal.busy("loading"):
        plan = Model.load(arguments.model, dims=dict(arguments.dims)).plan(arguments.batch)
    for path, draw in ((arguments.picture, plan.to_svg), (arguments.graph, plan.to_graph_svg)):
        if path is not None:
            pictures.write(draw(), path, arguments)
    if arguments.json:
        terminal.json(dataclasses.asdict(plan) | {"usage": plan.usage})
        return
    _print(plan, terminal)
    pictures.remark(arguments.picture, terminal)
    pictures.remark(arguments.graph, terminal)


def _print(plan: MemoryPlan, terminal: Terminal) -> None:
    terminal.print(f"{plain(plan.name)}, {plural(plan.n_rows, 'row')}", style="bold")
    facts = terminal.grid()
    if plan.chunk_rows < plan.n_rows:
        facts.add_row("chunks", f"at most {plural(plan.chunk_rows, 'row')} at once, so that they fit the cache; bytes are for these")
    facts.add_row("arena", f"{size(plan.arena_bytes)} ({plan.arena_bytes:,} bytes)")
    facts.add_row("peak", f"{size(plan.peak_bytes)} ({plan.peak_bytes:,} bytes): {plan.usage:.0%} of the arena in use at the fullest step")
    facts.add_row("weights", f"{size(plan.weight_bytes)}, {size(plan.shared_bytes)} of them shared")
    tiers = ", ".join(f"{count} {tier}" for tier, count in plan.tiers.items() if count)
    facts.add_row("steps", f"{tiers or 'none'}; {plural(plan.fused, 'node')} fused into others")
    if plan.one_row:
        facts.add_row("one row", f"rows run one after another: {plain(plan.one_row)}", style="yellow")
    for node, reason in plan.slow.items():
        facts.add_row("slow", f"{plain(node)}: {plain(reason)}", style="yellow")
    terminal.print(facts)

    if plan.steps:
        steps = terminal.table([">step", "~runs", ">live bytes", "~node"])
        for number, step in enumerate(plan.steps):
            slow = step.runs in plan.tiers
            fullest = step.live_bytes == plan.peak_bytes and plan.peak_bytes > 0
            steps.add_row(str(number), plain(step.runs), terminal.styled(f"{step.live_bytes:,}", "bold" if fullest else ""),
                          plain(step.node or step.op), style="yellow" if slow else None)
        terminal.print("")
        terminal.print(steps)
    if plan.buffers:
        buffers = terminal.table([">offset", ">bytes", "?>size", ">steps", "~buffer", "~made by"])
        for members in plan.partitions.values():
            for b in members:
                buffers.add_row(f"{b.offset:,}", f"{b.n_bytes:,}", b.size, f"{b.first}-{b.end}", plain(b.name), plain(b.made_by))
        terminal.print("")
        terminal.print(buffers)
