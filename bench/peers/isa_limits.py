"""The variables that keep contenders to AVX2 on a CPU that has AVX-512; set before they are imported."""
import os

VARIABLES = {
    "with_attend": {"ATTEND_ISA": "avx2"},
    "with_torch": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "with_openvino": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}  # ONNX Runtime and ncnn have none


def cpu_has_avx512():
    with open("/proc/cpuinfo") as file:
        return " avx512f" in file.read()


def limit(modules):
    """Sets the variables; those of the modules that heed some, or all where there is nothing to heed."""
    for variables in VARIABLES.values():
        os.environ.update(variables)
    return [module for module in modules if module in VARIABLES] if cpu_has_avx512() else modules


def unlimited():
    """The environment without them."""
    names = {name for variables in VARIABLES.values() for name in variables}
    return {name: value for name, value in os.environ.items() if name not in names}
