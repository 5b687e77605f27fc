#!/bin/bash
# cmake.sh BUILD JOBS: programs in C and C++ get attend by the README's lines for CMake: from what make and CMake install, and built
# with a project. Static and shared, by Ninja and make, the libraries have the Makefile's code, and results its bits.
set -eu
for tool in cmake ninja; do command -v $tool > /dev/null || { echo "needs $tool"; exit 77; }; done
build=$(realpath "$1") jobs=$2
work=$build/cmake
rm -rf "$work"
mkdir -p "$work"
# The README's project, and what more is made of it.
mkdir "$work/user"
cp tests/install/program.cpp "$work/user/example.cpp"
{
  awk '/^```/ { inside = /^```cmake/; next } inside' README.md
  echo "target_link_libraries(example attend::io)
enable_language(C)
add_executable(embed $PWD/tests/c/embed.c)
target_link_libraries(embed attend::attend)"
} > "$work/user/CMakeLists.txt"

# project FOLDER SOURCE FLAG... With debug information, as the Makefile's: clang's code depends on it.
project() {
  local folder=$work/$1 source=$2
  shift 2
  cmake -S "$source" -B "$folder" -DCMAKE_CXX_COMPILER="${CXX:-g++}" -DCMAKE_BUILD_TYPE=RelWithDebInfo "$@" > "$folder.log" 2>&1 &&
    env -u MAKEFLAGS -u MFLAGS cmake --build "$folder" --parallel "$jobs" >> "$folder.log" 2>&1 || { cat "$folder.log"; exit 1; }
}
# user FOLDER FLAG...: the programs built and run; their numbers are those of $work/expected.npy.
user() {
  local folder=$1
  shift
  echo "$folder: $*"
  project "$folder" "$work/user" "$@"
  "$work/$folder/embed"
  "$work/$folder/example" "$work/$folder.npy"
  cmp "$work/expected.npy" "$work/$folder.npy"
  # CMake links what it builds from C++ by the C++ compiler, which may add its runtime; what is installed is linked by the C compiler.
  [[ $folder = fetched-* ]] || ! readelf -d "$work/$folder/embed" | grep 'NEEDED.*libstdc++'
}
# The instructions of a library, in whatever order its files are.
code() { objdump -dr --no-show-raw-insn "$1" | grep -v -e 'file format' -e '^In archive' | sort; }
same_code() { cmp -s <(code "$build/$1") <(code "$work/$2/$1") || { echo "$2/$1: other code than the Makefile's"; exit 1; }; }

# What make installs, moved to where it was not told of.
${MAKE:-make} -s BUILD="$build" install PREFIX="$work/prefix" LIBDIR="$work/prefix/lib/deep" > /dev/null
mv "$work/prefix" "$work/moved"
moved=$work/moved
${CXX:-g++} -std=c++17 -I"$moved/include" tests/install/program.cpp "$moved"/lib/deep/libattend{_io,}.a -lpthread -o "$work/example"
"$work/example" "$work/expected.npy"
for shared in OFF ON; do
  user made-$shared -G Ninja -DBUILD_SHARED_LIBS=$shared -Dattend_DIR="$moved/lib/deep/cmake/attend"
done

# What CMake installs.
project libraries-static tools/cmake -G Ninja
project libraries-shared tools/cmake -G "Unix Makefiles" -DBUILD_SHARED_LIBS=ON
same_code libattend.a libraries-static
same_code libattend_io.a libraries-static
for kind in static shared; do
  cmake --install "$work/libraries-$kind" --prefix "$work/$kind" > "$work/install-$kind.log"
  user installed-$kind -G Ninja -DCMAKE_PREFIX_PATH="$work/$kind"
done

# Built with a project, by whose flags the libraries would have other code.
flags=-D_FORTIFY_SOURCE=3
if echo 'int main() {}' | "${CXX:-g++}" -flto -x c++ - -o "$work/lto" 2> "$work/lto.log"; then flags+=" -flto"; fi
if grep -qw avx2 /proc/cpuinfo && grep -qw bmi2 /proc/cpuinfo; then flags+=" -march=x86-64-v3"; fi
with_project=(-DCMAKE_DISABLE_FIND_PACKAGE_attend=ON -DFETCHCONTENT_SOURCE_DIR_ATTEND="$PWD" -DCMAKE_CXX_FLAGS="$flags")
user fetched-static -G Ninja "${with_project[@]}"
same_code libattend.a fetched-static/_deps/attend-build
same_code libattend_io.a fetched-static/_deps/attend-build
user fetched-shared -G "Unix Makefiles" "${with_project[@]}" -DBUILD_SHARED_LIBS=ON
