#!/bin/bash
# files.sh BUILD FOLDER: files that attend writes are read by the packages of their formats, and the other way round (files.py), in a
# fresh environment with numpy, safetensors and gguf.
set -eu
build=$1 folder=$2
python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 9))' 2> /dev/null || { echo "needs python3 from 3.9 on, with venv"; exit 77; }
mkdir -p "$folder"
python3 -m venv "$folder/venv" || { echo "needs python3's venv"; exit 77; }
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check numpy safetensors gguf || { echo "skipped: pip finds no numpy, safetensors and gguf"; exit; }
"$folder/venv/bin/python" tests/check/files.py "$build/attend" "$folder"
