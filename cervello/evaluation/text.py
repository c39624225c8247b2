"""A report as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cervello.evaluation.report import Report


def rows(report: Report) -> list[tuple[str, str, str, str, str, str]]:
    """Policy, estimator, value, interval, verdict, reason; one row per estimate."""
    found = []
    for name, each in report.items():
        for key, estimate in each.items():
            value = "—" if estimate.value is None else f"{estimate.value:.5g}"
            bounds = "—" if estimate.interval is None else f"{estimate.interval[0]:.5g} … {estimate.interval[1]:.5g}"
            found.append((name, key, value, bounds, estimate.verdict, estimate.reason))
    return found


def table(report: Report) -> str:
    """The headline, a table with columns of equal width, and notes."""
    head = ("policy", "estimator", "value", f"{report.options.level:.0%} interval", "verdict")
    body = [row[:5] for row in rows(report)]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(5)]
    lines = [report.headline, "",
             f"{report.n_episodes:,} episodes, {report.n_steps:,} steps, discount {report.gamma:g}"
             + (f", horizon {report.horizon}" if report.horizon is not None else "") + f", propensities {report.propensities}", ""]
    for row in [head, *body]:
        lines.append("  ".join(cell.rjust(width) if i in (2, 3) else cell.ljust(width) for i, (cell, width) in
                               enumerate(zip(row, widths, strict=True))).rstrip())
    lines.append("")
    for name, each in report.items():
        found = each.diagnostics
        if found is not None:
            violations = "not observable" if found.support_violations is None else str(found.support_violations)
            lines.append(f"{name}: effective sample size {found.ess[-1]:.1f} of {found.n}, largest share {found.largest_share:.1%}, "
                         f"tail index {found.pareto_k:.2f}, mean weight {found.mean_weight[-1]:.3g}, support violations {violations}, "
                         f"logged actions it never takes {found.unsupported_actions}, ties {found.ties}"
                         + (", deterministic" if found.deterministic else ""))
    lines += [f"note: {note}" for note in notes(report)]
    return "\n".join(lines)


def notes(report: Report) -> list[str]:
    """Notes of the report and of its estimates, each once."""
    found = dict.fromkeys(report.notes)
    for name, each in report.items():
        for key, estimate in each.items():
            found.update(dict.fromkeys(f"{key}: {note}" for note in estimate.notes))
            if estimate.verdict != "reliable":
                found[f"{name}, {key} is {estimate.verdict}: {estimate.reason}"] = None
    return list(found)
