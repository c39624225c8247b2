"""The standard ONNX backend interface: `prepare(model).run(inputs)`.

    import cervello.onnx_backend as backend

    outputs = backend.prepare(onnx.load("model.onnx")).run([x])

Any valid model runs, not only policies; `docs/backend.md` lists which tier runs what. Policies are faster as `cervello.Model`.
Source: onnx.backend.base.
"""

from cervello.native.backend import CervelloBackend, Prepared

is_compatible = CervelloBackend.is_compatible
prepare = CervelloBackend.prepare
run_model = CervelloBackend.run_model
run_node = CervelloBackend.run_node
supports_device = CervelloBackend.supports_device

__all__ = ["CervelloBackend", "Prepared", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]
