#!/bin/bash
# python_aarch64.sh WHEEL FOLDER: the package's tests by a CPython for aarch64, which qemu runs, of the wheel for it. Debian's CPython comes
# by apt-get, numpy and pytest by pip, all into the folder; where they do not come, a line says so. Left out is what says nothing
# there but how slow and large the emulator is (long calls and many beside other threads, the memory of threads), what starts another Python (the
# tour), what needs a real model.
set -eu
wheel=$1
folder=$(realpath -m "$2")
system=$folder/system
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || { echo "skipped: the tests on aarch64: no qemu-aarch64"; exit; }

fetch_python() {  # into a system of its own, of which nothing is installed
  mkdir -p "$folder/state" "$folder/cache" "$system"
  touch "$folder/state/status"
  local get=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o Dir::State="$folder/state"
             -o Dir::State::status="$folder/state/status" -o Dir::Cache="$folder/cache")
  "${get[@]}" update && "${get[@]}" install -y --download-only --no-install-recommends python3 libstdc++6 &&
    for package in "$folder"/cache/archives/*.deb; do dpkg -x "$package" "$system" || return; done
}
if ! [ -x "$(command -v apt-get)" ] || ! timeout 120 bash -c "$(declare -f fetch_python); folder=$folder system=$system fetch_python" > "$folder.log" 2>&1; then
  echo "skipped: the tests on aarch64: apt-get finds no python3 for arm64"
  exit
fi
run() { "$emulator" -L "$system" "$system/usr/bin/python3" "$@"; }
read -r version glibc < <(run -c 'import platform, sys; print("%d.%d" % sys.version_info[:2], platform.libc_ver()[1])')
platforms=()  # those that this glibc serves
for minor in $(seq 17 "${glibc#2.}"); do platforms+=(--platform "manylinux_2_${minor}_aarch64"); done
pip() { python3 -m pip install -q --disable-pip-version-check --target "$folder/packages" --only-binary=:all: --python-version "$version" "${platforms[@]}" "$@"; }
pip numpy pytest 2> "$folder.log" || { echo "skipped: the tests on aarch64: pip finds no numpy and pytest for it"; exit; }
pip --no-deps "$wheel"
export PYTHONPATH=$folder/packages ATTEND_MINILM=none
run -c 'import attend; print("attend on aarch64:", attend.best_isa())' | grep neon
run -m pytest -q -p no:cacheprovider --ignore tools/python/tests/test_tour.py tools/python/tests \
  -k 'not lock_is_released and not leave_nothing and not test_forks and not begin_together'
