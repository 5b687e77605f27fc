#!/bin/bash
# python.sh BUILD FOLDER: the Python package (tools/python), installed by pip into a fresh environment with numpy, pytest and matplotlib:
# its library needs and shows nothing but what it should, the wheel's platform is one that has its symbols, the tests pass
# without PyTorch, mypy --strict has nothing to say. Then the tests with PyTorch, by the Python of $ATTEND_TORCH_PYTHON or
# build/venv/bin/python where there is one, and with transformers where that has it; and the wheel for aarch64, and its
# tests, where there is its compiler. The names of tests that are skipped are printed.
set -eu
export BUILD=$1
folder=$2
: "${MAKE:=make}"
rm -rf "$folder"
mkdir -p "$folder"
python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 9))' 2> /dev/null || { echo "needs python3 from 3.9 on, with venv"; exit 77; }
python3 -m venv "$folder/venv" || { echo "needs python3's venv"; exit 77; }
python=$folder/venv/bin/python
install() { "$python" -m pip install -q --disable-pip-version-check "$@"; }
install numpy pytest || { echo "skipped: pip finds no numpy and pytest"; exit; }  # no tool: not even a failure where all tools are required
install matplotlib || echo "skipped: matplotlib, and the tour with it"
install ./tools/python
"$python" -c 'import attend; print(attend.__version__, attend.__file__)' | grep "$folder/"
test_package() { "$@" -m pytest -q -rs -p no:cacheprovider tools/python/tests; }
test_package "$python"
if install mypy; then
  "$python" -m mypy --strict --no-incremental --config-file tools/python/pyproject.toml -p attend
  "$python" -m mypy --strict --no-incremental tools/python/tests/typed_program.py
else
  echo "skipped: mypy"
fi

check_wheel() {  # its library, its platform
  local library=$1 platform=$2 lowest
  if nm -D --defined-only "$library" | grep -v ' T attend_'; then echo "the library shows more than its interface"; return 1; fi
  if readelf -d "$library" | grep NEEDED | grep -v 'lib\(c\|m\|pthread\)\.so\|ld-linux'; then echo "the library needs more than libc"; return 1; fi
  lowest=$(readelf -V "$library" | grep -o 'Name: GLIBC_2\.[0-9]*' | grep -o '[0-9]*$' | sort -n | tail -n 1)
  ls "$folder/$platform"/attend-*-py3-none-manylinux_2_"$lowest"_"$platform".whl > /dev/null
}
"$MAKE" -s BUILD="$BUILD" wheel WHEELS="$folder/$(uname -m)"
check_wheel "$BUILD/python/libattend.so" "$(uname -m)"
if [ "$(uname -m)" != aarch64 ] && [ -x "$(command -v aarch64-linux-gnu-g++)" ]; then
  "$MAKE" -s -j"${JOBS:-2}" BUILD="$folder/build-aarch64" wheel CXX=aarch64-linux-gnu-g++ WHEELS="$folder/aarch64"
  check_wheel "$folder/build-aarch64/python/libattend.so" aarch64
  tests/check/python_aarch64.sh "$folder"/aarch64/attend-*.whl "$folder/python-aarch64"
else
  echo "skipped: the wheel for aarch64"
fi

torch_python=${ATTEND_TORCH_PYTHON:-build/venv/bin/python}
if [ -x "$torch_python" ] && "$torch_python" -c 'import torch' 2> /dev/null; then
  install --target "$folder/packages" --no-deps "$folder/$(uname -m)"/*.whl
  "$torch_python" -c 'import pytest' 2> /dev/null || install --target "$folder/packages" pytest
  export PYTHONPATH=$folder/packages
  test_package "$torch_python"
  "$torch_python" tools/python/tests/measure_calls.py
else
  echo "skipped: the tests with PyTorch (ATTEND_TORCH_PYTHON=a python that has it)"
fi
