"""Attacks on whoever loads a policy file that somebody else has made. Each must end in an error of the tree, soon and in little memory.

    python scripts/attacks.py

Every attack runs in a process of its own with 2 GiB of address space beyond what Python has mapped, and 5 s. Prints what became of each;
exits with 1 when one got through. What they are, and what is not defended against: docs/threat-model.md.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper

LIMIT_S = 5
MEMORY_BYTES = 2 << 30
SECRET = np.full((4, 3), 1234.5, np.float32)  # what lies outside the model's folder
Attack = Callable[[Path], Path]  # a folder to make files in → the file to load
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__.replace("_", " ")] = function
    return function


def _gemm() -> onnx.ModelProto:
    return onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        g (float[N, 4] x) => (float[N, 3] y) <float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> { y = MatMul(x, w) }""")


def _saved(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "policy.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def _parsed(folder: Path, text: str) -> Path:
    return _saved(folder, onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>\n' + text))


def _external(folder: Path, location: str, **facts: int) -> Path:
    proto = _gemm()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **facts}.items():
        tensor.external_data.add(key=key, value=str(value))
    return _saved(folder, proto)


@attack
def weights_from_the_folder_above(folder: Path) -> Path:
    return _external(folder, "../secret.bin")


@attack
def weights_from_an_absolute_path(folder: Path) -> Path:
    return _external(folder, str(folder.parent / "secret.bin"))


@attack
def weights_through_a_link(folder: Path) -> Path:
    (folder / "weights.bin").symlink_to(folder.parent / "secret.bin")
    return _external(folder, "weights.bin")


@attack
def weights_through_a_linked_folder(folder: Path) -> Path:
    (folder / "inside").symlink_to(folder.parent, target_is_directory=True)
    return _external(folder, "inside/secret.bin")


@attack
def weights_before_the_beginning_of_their_file(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(bytes(100))
    return _external(folder, "weights.bin", offset=-48)


@attack
def two_gigabytes_claimed_by_a_few_bytes(folder: Path) -> Path:
    proto = _gemm()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([1 << 15, 1 << 14])
    return _saved(folder, proto)


@attack
def a_constant_folded_to_terabytes(folder: Path) -> Path:
    return _parsed(folder, """g (float[N, 4] x) => (float[N, 4] y) <int64[2] s = {1099511627776, 4}>
        { e = ConstantOfShape(s) r = ReduceSum<keepdims = 0>(e) y = Add(x, r) }""")


@attack
def a_policy_of_a_million_rows(folder: Path) -> Path:
    return _parsed(folder, """g (float[1048576, 4] x) => (float[M, 3] y) <float[4, 256] w, float[4] b = {1, 2, 3, 4}>
        { big = Expand(x, s) y = Exp(big) }""".replace("<float[4, 256] w, float[4] b = {1, 2, 3, 4}>",
                                                       "<int64[3] s = {256, 1048576, 4}>"))


@attack
def a_cycle(folder: Path) -> Path:
    return _parsed(folder, "g (float[N, 4] x) => (float[N, 4] y) { a = Add(x, b) b = Relu(a) y = Relu(b) }")


@attack
def a_loop_that_never_ends(folder: Path) -> Path:
    return _parsed(folder, """g (float[1, 4] x) => (float[1, 4] y)
        { y = Loop(, , x) <body = b (int64 i, bool c, float[1, 4] s) => (bool d, float[1, 4] t) { d = Identity(c) t = Add(s, x) }> }""")


@attack
def functions_that_double(folder: Path) -> Path:
    """Forty functions of two calls each: 2 ** 40 nodes in 4 kB."""
    text = "g (float[N, 4] x) => (float[N, 4] y) { y = mine.f0(x) }\n"
    for i in range(40):
        body = f"a = mine.f{i + 1}(v) w = mine.f{i + 1}(a)" if i < 39 else "w = Relu(v)"
        text += f'<domain: "mine", opset_import: ["" : 21, "mine" : 1]> f{i} (v) => (w) {{ {body} }}\n'
    return _parsed(folder, text)


@attack
def a_function_that_calls_itself(folder: Path) -> Path:
    return _parsed(folder, """g (float[N, 4] x) => (float[N, 4] y) { y = mine.f(x) }
        <domain: "mine", opset_import: ["" : 21, "mine" : 1]> f (v) => (w) { w = mine.f(v) }""")


@attack
def branches_in_branches(folder: Path) -> Path:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["r"])], "t", [], [helper.make_empty_tensor_value_info("r")])
    for i in range(60):
        node = helper.make_node("If", ["c"], [f"r{i}"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "t", [], [helper.make_empty_tensor_value_info(f"r{i}")])
        if inner.ByteSize() > 1 << 22:  # each level doubles the file
            break
    ports = [helper.make_tensor_value_info("x", 1, [1, 4]), helper.make_tensor_value_info("c", 9, [1])]
    inner.input.extend(ports)
    return _saved(folder, helper.make_model(inner, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


@attack
def an_index_behind_its_table(folder: Path) -> Path:
    return _parsed(folder, """g (float[N, 4] x) => (float[N, 4] y) <int64[4] i = {0, 1, 2, 1000000}>
        { y = Gather<axis = 1>(x, i) }""")


@attack
def a_name_that_is_not_text(folder: Path) -> Path:
    path = _saved(folder, _gemm())
    path.write_bytes(path.read_bytes().replace(b"MatMul", b"Mat\xff\xfel"))
    return path


@attack
def half_a_file(folder: Path) -> Path:
    path = _saved(folder, _gemm())
    path.write_bytes(path.read_bytes()[:-40])
    return path


@attack
def a_picture_instead(folder: Path) -> Path:
    path = folder / "policy.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 64)
    return path


def _run(name: str, folder: str, results: Any) -> None:
    import resource

    from cervello.errors import CervelloError
    from cervello.native import Model

    Model.load(_gemm()).run({"x": np.ones((1, 4), np.float32)})  # what compiles or is mapped once is none of the attack's
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    path = ATTACKS[name](Path(folder))
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, mapped + MEMORY_BYTES))
    try:
        model = Model.load(path)
        stolen = any(array.dtype == np.float32 and np.any(array == SECRET.flat[0]) for array in model.weights.arrays())
        given = {port: np.ones(spec.batched(1), spec.dtype) for port, spec in model.inputs.items()}
        model.run(given)
        results.put((False, "READ THE SECRET" if stolen else "ran, as if nothing were wrong"))
    except CervelloError as error:
        results.put((True, f"{type(error).__name__}: {error}"))
    except BaseException as error:
        results.put((False, f"foreign {type(error).__name__}: {error}"))


def outcome(name: str) -> tuple[bool, str, float]:
    """Whether an attack was fended off, what became of it, and the seconds it took."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as outside:
        (Path(outside) / "secret.bin").write_bytes(SECRET.tobytes())
        folder = Path(outside) / "models"
        folder.mkdir()
        results = context.Queue()
        process = context.Process(target=_run, args=(name, str(folder), results))
        process.start()
        start = time.perf_counter()
        try:
            fended, said = results.get(timeout=LIMIT_S + 30)  # 30: until Python and the package are loaded
        except Exception:
            process.kill()
            fended, said = False, f"no answer (exit status {process.exitcode})"
        process.join()
        return fended, said, time.perf_counter() - start


def main() -> int:
    if not Path("/proc/self/statm").exists():
        print("skipped: limiting memory needs Linux")
        return 0
    through = 0
    for name in ATTACKS:
        fended, said, seconds = outcome(name)
        through += not fended
        print(f"{'fended off' if fended else 'GOT THROUGH':<12}  {name}, {seconds:.1f} s\n              {said[:230]}", flush=True)
    print(f"{len(ATTACKS)} attacks, {through} got through")
    return 1 if through else 0


if __name__ == "__main__":
    sys.exit(main())
