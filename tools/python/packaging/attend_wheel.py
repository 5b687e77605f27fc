"""Builds the wheel: a PEP 517 backend that needs make, a C++ compiler and nothing of Python's registry.

`pip install ./tools/python` calls it; `make wheel` does so by

    python3 attend_wheel.py LIBRARY FOLDER

which puts a library that was built before, maybe for another CPU, into a wheel in FOLDER.
"""
import base64
import hashlib
import os
import re
import struct
import subprocess
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(HERE)
ROOT = os.path.dirname(os.path.dirname(PROJECT))
NAME = "attend"
MACHINES = {62: "x86_64", 183: "aarch64"}  # as ELF counts them


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return write_wheel(build_library(), wheel_directory)


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = os.path.join(metadata_directory, information_folder())
    os.makedirs(folder)
    with open(os.path.join(folder, "METADATA"), "w", encoding="utf-8") as file:
        file.write(metadata())
    return os.path.basename(folder)


def build_sdist(sdist_directory, config_settings=None):
    raise RuntimeError("the package is built inside attend's repository: it has no source distribution of its own")


def build_library():
    """Has make build the library; returns its path."""
    if not os.path.exists(os.path.join(ROOT, "src", "build.mk")):
        raise RuntimeError("the package is built inside attend's repository: " + ROOT + " is none")
    make = os.environ.get("MAKE", "make")
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    jobs = "-j" + os.environ.get("JOBS", str(os.cpu_count() or 1))
    subprocess.run([make, "-s", "-C", ROOT, jobs, "python-library"], check=True, env=environment)
    where = subprocess.run([make, "-s", "-C", ROOT, "python-library-path"], check=True, env=environment, capture_output=True, text=True)
    return os.path.join(ROOT, where.stdout.strip())


def version():
    with open(os.path.join(ROOT, "include", "attend", "attend.h"), encoding="utf-8") as file:
        return re.search(r'#define ATTEND_VERSION "(.*)"', file.read()).group(1)


def platform_tag(library):
    """manylinux_2_N_MACHINE with the lowest glibc 2.N that has all symbols of the library (bytes); else linux_MACHINE."""
    machine = MACHINES[struct.unpack_from("<H", library, 18)[0]]
    needed = [int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)(?:\.\d+)?(?=\0)", library)]
    return f"manylinux_2_{max(needed)}_{machine}" if needed else f"linux_{machine}"


def information_folder():
    return f"{NAME}-{version()}.dist-info"


def metadata():
    with open(os.path.join(PROJECT, "README.md"), encoding="utf-8") as file:
        description = file.read()
    return (f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version()}\nSummary: Multi-head attention on CPUs, in float32\n"
            "Requires-Python: >=3.9\nRequires-Dist: numpy>=1.23\nDescription-Content-Type: text/markdown\n\n" + description)


def write_wheel(library_path, folder):
    """Writes the wheel into the folder, the same bytes for the same contents; returns its name."""
    with open(library_path, "rb") as file:
        library = file.read()
    tag = "py3-none-" + platform_tag(library)
    files = {}
    package = os.path.join(PROJECT, NAME)
    names = [os.path.relpath(os.path.join(where, name), package) for where, _, found in os.walk(package) for name in found]
    for name in sorted(names):
        if name.endswith((".py", ".pyi", ".typed")):
            with open(os.path.join(package, name), "rb") as file:
                files[f"{NAME}/{name.replace(os.sep, '/')}"] = file.read()
    files[f"{NAME}/libattend.so"] = library
    information = information_folder()
    files[f"{information}/METADATA"] = metadata().encode()
    files[f"{information}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: attend_wheel\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = f"{information}/RECORD"
    digest = lambda content: base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    lines = [f"{name},sha256={digest(content)},{len(content)}" for name, content in files.items()] + [f"{record},,"]
    files[record] = "".join(line + "\n" for line in lines).encode()

    wheel = f"{NAME}-{version()}-{tag}.whl"
    os.makedirs(folder, exist_ok=True)
    with zipfile.ZipFile(os.path.join(folder, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            archive.writestr(entry, content)
    return wheel


if __name__ == "__main__":
    print(os.path.join(sys.argv[2], write_wheel(sys.argv[1], sys.argv[2])))
