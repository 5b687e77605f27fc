#!/bin/bash
# install.sh BUILD: programs in C and C++ build against what make install puts in place, by pkg-config and
# directly, static and shared; the tool finds the sentences of its demo; debug information stays where it is asked for;
# make uninstall leaves nothing, and takes nothing that is not its own. A folder with a space is refused.
set -eu
build=$(realpath "$1")
root=$build/installed
rm -rf "$root"
mkdir -p "$root/usr/lib/other"
${MAKE:-make} -s BUILD="$build" install PREFIX=/usr DESTDIR="$root"
"$root/usr/bin/attend" --version
(cd "$root/usr" && bin/attend demo --svg "$build/demo.svg" > "$build/demo.txt") || { cat "$build/demo.txt"; exit 1; }
installed=("$root"/usr/bin/attend "$root"/usr/lib/lib*.{a,so})
if readelf -SW "${installed[@]}" | grep '\.debug_info'; then echo "not stripped"; exit 1; fi
du -sb "$root/usr"

for goal in install install-debug uninstall; do
  for name in PREFIX LIBDIR DESTDIR; do
    message=$(${MAKE:-make} -s BUILD="$build" $goal PREFIX=/usr DESTDIR="$root" $name="$root/a b" 2>&1) && { echo "$goal takes a $name with a space"; exit 1; }
    [[ $message = *"$name: '$root/a b' has a space"* ]] || { echo "$message"; exit 1; }
  done
done

flags=(-I"$root/usr/include" -Wall -Wextra -Werror)
cc "${flags[@]}" -std=c99 -pedantic tests/c/embed.c "$root/usr/lib/libattend.a" -lm -lpthread -o "$build/embed-static"
cc "${flags[@]}" tests/c/embed.c -L"$root/usr/lib" -lattend -lm -o "$build/embed-shared"
${CXX:-c++} "${flags[@]}" -std=c++17 tests/install/program.cpp "$root"/usr/lib/libattend{_io,}.a -lpthread -o "$build/program-static"
${CXX:-c++} "${flags[@]}" -std=c++17 tests/install/program.cpp -L"$root/usr/lib" -lattend_io -lattend -o "$build/program-shared"
cc "${flags[@]}" -std=c99 -pedantic tests/c/load.c -L"$root/usr/lib" -lattend_io -lattend -lstdc++ -o "$build/load-shared"
cc "${flags[@]}" -std=c99 -pedantic tests/c/load.c "$root"/usr/lib/libattend{_io,}.a -lstdc++ -lm -lpthread -o "$build/load-static"
if which pkg-config > /dev/null; then
  export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$root/usr/lib/pkgconfig
  cc tests/c/embed.c $(pkg-config --cflags --libs attend) -lm -o "$build/embed-pkg-config"
  cc tests/c/embed.c $(pkg-config --static --cflags --libs attend) -static -o "$build/embed-pkg-config-static"
  cc tests/c/load.c $(pkg-config --cflags --libs attend-io) -o "$build/load-pkg-config"
  cc -std=c++17 tests/install/program.cpp $(pkg-config --cflags --libs attend-io) -o "$build/program-pkg-config"
  cc -std=c++17 tests/install/program.cpp $(pkg-config --static --cflags --libs attend-io) -static -o "$build/program-pkg-config-static"
  pkg-config --exact-version="$("$root/usr/bin/attend" --version | grep -o '[0-9][0-9.]*')" attend
else
  echo "skipped: pkg-config"
  [ -z "${ATTEND_REQUIRE_TOOLS:-}" ]
fi
for program in "$build"/{embed,program}-{static,shared,pkg-config*}; do
  LD_LIBRARY_PATH=$root/usr/lib "$program" "$build/program.npy"
done
for program in "$build"/load-{static,shared,pkg-config}; do
  [ ! -e "$program" ] || LD_LIBRARY_PATH=$root/usr/lib "$program" tests/data/minilm "$build/program.npy"
done

${MAKE:-make} -s BUILD="$build" install-debug PREFIX=/usr DESTDIR="$root"
nm "$root/usr/bin/attend" | grep ' main$' > /dev/null
${MAKE:-make} -s BUILD="$build" uninstall PREFIX=/usr DESTDIR="$root"
left=$(find "$root" ! -type d)
[ -z "$left" ] && [ -d "$root/usr/lib/other" ] && [ -z "$(find "$root" -name attend)" ] || { echo "left or lost by uninstall: $left"; exit 1; }
