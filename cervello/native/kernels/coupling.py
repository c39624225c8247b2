"""Pairwise coupling: class probabilities from pairwise probabilities, as in support vector machines with probability estimates.

The result p ≥ 0 with Σ p = 1 minimises Σ_i Σ_{j≠i} (r_ji p_i - r_ij p_j)², where r_ij is the probability of class i given i or j. The
solver is cyclic coordinate descent with Newton steps. It stops when no coordinate has an error of 0.005 / classes or more, or after a
number of rounds; both are part of the definition. Rows are computed independently, in float64.

Source: Wu, Lin and Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling", JMLR 5 (2004), algorithm 2;
ONNX operator specification, ai.onnx.ml, SVMClassifier-1, by its reference.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import read_f32, read_f64, write_f32, write_f64
from cervello.codegen.records import reader
from cervello.native.kernels.schemas import COUPLING

_words = reader(COUPLING)
_ROUNDS = 100  # or the number of classes, if larger
_TOLERANCE = 0.005


@noinline
def _quadratic_form(pairs, q, classes):
    """Writes the matrix of the quadratic form: q_ii = Σ_j r_ji², q_ij = -r_ji r_ij."""
    for i in range(classes * classes):
        write_f64(q, i, 0.0)
    at = 0
    for i in range(classes):
        for j in range(i + 1, classes):
            first = np.float64(read_f32(pairs, at))
            second = 1.0 - first
            write_f64(q, i * classes + j, -first * second)
            write_f64(q, j * classes + i, -first * second)
            write_f64(q, i * classes + i, read_f64(q, i * classes + i) + second * second)
            write_f64(q, j * classes + j, read_f64(q, j * classes + j) + first * first)
            at += 1
    return 0


@noinline
def _coordinate_step(q, p, qp, classes, pqp):
    """One Newton step along each coordinate; after each step, p is scaled to Σ p = 1, and qp = q @ p and pqp = p @ q @ p are updated."""
    for i in range(classes):
        diagonal = read_f64(q, i * classes + i)
        step = (pqp - read_f64(qp, i)) / diagonal
        scale = 1.0 + step
        pqp = (pqp + step * (step * diagonal + 2.0 * read_f64(qp, i))) / scale / scale
        write_f64(p, i, read_f64(p, i) + step)
        for j in range(classes):
            write_f64(qp, j, (read_f64(qp, j) + step * read_f64(q, i * classes + j)) / scale)
            write_f64(p, j, read_f64(p, j) / scale)
    return 0


@noinline
def _couple(pairs, q, p, qp, classes):
    """Computes p from the pairs of one row; all NaN if a pair is NaN."""
    _quadratic_form(pairs, q, classes)
    for i in range(classes):
        write_f64(p, i, 1.0 / classes)
    for _ in range(max(_ROUNDS, classes)):
        pqp = 0.0
        for i in range(classes):
            total = 0.0
            for j in range(classes):
                total += read_f64(q, i * classes + j) * read_f64(p, j)
            write_f64(qp, i, total)
            pqp += read_f64(p, i) * total
        max_error = 0.0
        for i in range(classes):
            max_error = max(max_error, abs(read_f64(qp, i) - pqp))
        if pqp != pqp:
            for i in range(classes):
                write_f64(p, i, pqp)
            return 0
        if max_error < _TOLERANCE / classes:
            return 0
        _coordinate_step(q, p, qp, classes, pqp)
    return 0


def couple(step, ctx):
    """pairs [rows, classes (classes - 1) / 2] to result [rows, classes]; work: [classes + 2, classes] float64."""
    w = _words(step, ctx)
    pairs, result, q, rows, classes = w.pairs, w.result, w.work, w.rows, w.classes
    p = q + classes * classes * 8
    for _ in range(rows):
        _couple(pairs, q, p, p + classes * 8, classes)
        for i in range(classes):
            write_f32(result, i, np.float32(read_f64(p, i)))
        pairs, result = pairs + classes * (classes - 1) // 2 * 4, result + classes * 4
    return 0
