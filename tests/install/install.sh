#!/bin/bash
# install.sh BUILD: programs in C and C++ build against what make install puts in place, by pkg-config and
# directly, static and shared; make uninstall leaves nothing, and takes nothing that is not its own.
set -eu
build=$1
root=$(realpath "$build")/installed
rm -rf "$root"
mkdir -p "$root/usr/lib/other"
${MAKE:-make} -s BUILD="$build" install PREFIX=/usr DESTDIR="$root"
"$root/usr/bin/attend" --version

flags=(-I"$root/usr/include" -Wall -Wextra -Werror)
cc "${flags[@]}" -std=c99 -pedantic tests/c/embed.c "$root/usr/lib/libattend.a" -lm -lpthread -o "$build/embed-static"
cc "${flags[@]}" tests/c/embed.c -L"$root/usr/lib" -lattend -lm -o "$build/embed-shared"
${CXX:-c++} "${flags[@]}" -std=c++17 tests/install/program.cpp "$root"/usr/lib/libattend{_io,}.a -lpthread -o "$build/program-static"
${CXX:-c++} "${flags[@]}" -std=c++17 tests/install/program.cpp -L"$root/usr/lib" -lattend_io -lattend -o "$build/program-shared"
if which pkg-config > /dev/null; then
  export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$root/usr/lib/pkgconfig
  cc tests/c/embed.c $(pkg-config --cflags --libs attend) -lm -o "$build/embed-pkg-config"
  cc tests/c/embed.c $(pkg-config --static --cflags --libs attend) -static -o "$build/embed-pkg-config-static"
  pkg-config --exact-version="$("$root/usr/bin/attend" --version | grep -o '[0-9][0-9.]*')" attend
else
  echo "skipped: pkg-config"
  [ -z "${ATTEND_REQUIRE_TOOLS:-}" ]
fi
for program in "$build"/embed-{static,shared,pkg-config*} "$build"/program-{static,shared}; do
  LD_LIBRARY_PATH=$root/usr/lib "$program" "$build/program.npy"
done

${MAKE:-make} -s BUILD="$build" uninstall PREFIX=/usr DESTDIR="$root"
left=$(find "$root" ! -type d)
[ -z "$left" ] && [ -d "$root/usr/lib/other" ] && [ ! -e "$root/usr/include/attend" ] || { echo "left or lost by uninstall: $left"; exit 1; }
