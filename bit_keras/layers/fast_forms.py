"""What layers may use where XLA compiles a step: kernels on GPUs, products on CPUs."""

import contextlib

from bit_keras.layers import cpu_forms, gpu_kernels


@contextlib.contextmanager
def using_fast_forms(is_compiled, kernels="auto"):
    """Lets layers compute in the form that is fastest on the devices of this machine.

    Args:
        is_compiled: Whether XLA compiles what is traced meanwhile; nothing changes if
            it does not.
        kernels: Whether `gpu_kernels` may be used; `"auto"` if all GPUs can run them.
    """
    if kernels == "auto":
        kernels = gpu_kernels.supported()
    with (
        gpu_kernels.using_gpu_kernels(bool(kernels and is_compiled)),
        cpu_forms.using_cpu_forms(bool(is_compiled and cpu_forms.supported())),
    ):
        yield
