"""The variables that keep contenders to AVX2 on a CPU that has AVX-512; set before they are imported."""
import os

VARIABLES = {
    "with_torch": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "with_openvino": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "with_attend": {},  # its option
}  # ONNX Runtime and ncnn have none


def cpu_has_avx512():
    with open("/proc/cpuinfo") as file:
        return " avx512f" in file.read()


def obeying(modules, isa):
    """Those of the modules that can be kept to the ISA; sets their variables."""
    if isa != "avx2":
        return modules
    for variables in VARIABLES.values():
        os.environ.update(variables)
    return [module for module in modules if module in VARIABLES or not cpu_has_avx512()]
