"""A report as one HTML page that refers to nothing outside itself and runs no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from cervello.evaluation import plots
from cervello.evaluation.text import notes, rows

if TYPE_CHECKING:
    from cervello.evaluation.report import Report

_STYLE = """
body { font: 15px/1.5 system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em;
       color: #1d2430; background: #ffffff }
.verdict { font-size: 20px; font-weight: 600; padding: .6em .8em; border-left: 6px solid }
.reliable { color: #2e7a3c } .weak { color: #a35f00 } .unsupported { color: #b3261e }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3em .6em; border-top: 1px solid #dde2e9 }
tr:first-child th { border-top: 0; vertical-align: bottom }
td { overflow-wrap: anywhere } td:first-child { min-width: 8em } td.verdict-word { white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.why { border-top: 0; padding-top: 0; color: #5c6675 }
svg { max-width: 100%; height: auto; margin-top: 1em; display: block } svg text { font-size: 14px; fill: #3c4553 }
svg .title { font-size: 19px; font-weight: 600 }
.grid { stroke: #dde2e9 }
@media (prefers-color-scheme: dark) {
  body { color: #eef2f7; background: #14181f } th, td { border-color: #2a323d } td.why { color: #98a3b2 }
  svg text { fill: #b9c2cf } .grid { stroke: #2a323d }
  .reliable { color: #6cc17f } .weak { color: #e0a13d } .unsupported { color: #f08a88 }
}
@media (max-width: 40em) { body { margin: 1em auto } .verdict { font-size: 17px } th, td { font-size: 13px; padding: .3em }
  td.number { white-space: normal } td:first-child { min-width: 5em } ul { padding-left: 1.2em } li { overflow-wrap: anywhere } }
"""


def page(report: Report) -> str:
    """The verdict first, then the table, notes, diagnostics and plots."""
    body = [f'<p class="verdict {report.verdict}">{escape(report.headline)}</p>',
            f"<p>{report.n_episodes:,} episodes, {report.n_steps:,} steps, discount {report.gamma:g}"
            + (f", horizon {report.horizon}" if report.horizon is not None else "") + f", propensities {escape(report.propensities)}.</p>",
            '<div class="wide"><table><tr><th>policy</th><th>estimator</th><th>value</th>'
            f"<th>{report.options.level:.0%} interval</th><th>verdict</th></tr>"]
    for name, key, value, bounds, verdict, reason in rows(report):
        body.append(f'<tr><td>{escape(name)}</td><td>{escape(key)}</td><td class="number">{value}</td><td class="number">{bounds}</td>'
                    f'<td class="verdict-word {verdict}">{verdict}</td></tr>')
        if reason:  # on a line of its own: a sentence beside four columns has no room on a narrow page
            body.append(f'<tr><td class="why" colspan="5">{escape(reason)}</td></tr>')
    body.append("</table></div>")
    body += ["<ul>", *(f"<li>{escape(note)}</li>" for note in notes(report)), "</ul>",
             report.to_svg()]
    weighted = {name: each.diagnostics for name, each in report.items() if each.diagnostics is not None}
    if weighted:
        body += ['<h2>Weights</h2><div class="wide"><table><tr><th>policy</th><th>effective sample size</th>'
                 "<th>largest share</th><th>tail index</th>"
                 "<th>mean weight</th><th>support violations</th><th>actions it never takes</th><th>ties</th></tr>"]
        for name, found in weighted.items():
            violations = "not observable" if found.support_violations is None else str(found.support_violations)
            cells = [f"{found.ess[-1]:.1f} of {found.n}", f"{found.largest_share:.1%}", f"{found.pareto_k:.2f}",
                     f"{found.mean_weight[-1]:.3g}", violations, str(found.unsupported_actions), str(found.ties)]
            body.append(f"<tr><td>{escape(name)}</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>")
        body += ["</table></div>", plots.per_step(report), plots.mean_weights(report), plots.tails(report)]
    return ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            '<title>Offline evaluation</title>'
            f"<style>{_STYLE}</style></head><body><h1>Offline evaluation</h1>{''.join(body)}</body></html>\n")
