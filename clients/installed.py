"""Where clients that are too large for every check are installed: in the cache, once per pinned version."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

EXTRA = pathlib.Path(__file__).resolve().parent / "extra"
# What nobody needs here, and is some gigabytes: Open WebUI's own embeddings.
LEFT_OUT = 'torch; python_version < "3"\ntriton; python_version < "3"\n'


def cache():
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("PHALLAMA_CACHE") or pathlib.Path(caches) / "phallama")


def once(key, what, make):
    """The folder of this key, which `make` fills unless that was done."""
    folder = cache() / "extra" / key
    if not (folder / "done").exists():
        print(f"extra: installing {what}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        (folder / "done").touch()
    return folder


def python(packages):
    """Packages of PyPI, in an environment of their own."""
    def make(folder):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        (folder / "left-out").write_text(LEFT_OUT)
        uv = [cache() / "pip/bin/uv", "pip", "install", "-q", "--python", folder / "bin/python"]
        subprocess.run([*uv, "--override", folder / "left-out", *packages], check=True)

    key = "-".join(packages).replace("/", "_").replace("[", "_").replace("]", "_")
    return once(key, ", ".join(packages), make) / "bin"


def npm(packages):
    """Packages of npm: all that `extra/node` pins, at once."""
    def make(folder):
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(EXTRA / "node" / name, folder)
        # Not `npm ci`: it insists on the packages of other platforms, of which the lock file lacks some.
        subprocess.run(["npm", "install", "--no-save", "--ignore-scripts", "--silent"], cwd=folder, check=True)
        # It links the program, which came as a package for this platform.
        subprocess.run(["node", "node_modules/opencode-ai/postinstall.mjs"], cwd=folder, check=True)

    pinned = json.loads((EXTRA / "node/package.json").read_text())["dependencies"]
    for package in packages:
        name, _, version = package.rpartition("@")
        assert pinned[name] == version, f"{package} is not what extra/node/package.json pins"
    lock = hashlib.sha256((EXTRA / "node/package-lock.json").read_bytes()).hexdigest()
    return once(f"node-{lock[:12]}", ", ".join(packages), make) / "node_modules/.bin"


def cargo(packages):
    """A program of the crates registry, not optimised: that takes about ten minutes on 2 cores as it is."""
    name, _, version = packages[0].partition("@")
    def make(folder):
        command = ["cargo", "install", name, "--version", version, "--locked", "--debug", "--quiet"]
        env = {**os.environ, "CARGO_PROFILE_DEV_DEBUG": "0"}
        subprocess.run([*command, "--root", folder], env=env, check=True)

    return once(f"{name}-{version}", packages[0], make) / "bin"


def crate_source(name, version, sha256):
    """The files of a crate as they were published, tests and all."""
    def make(folder):
        (folder / "fetch").mkdir()
        (folder / "fetch/lib.rs").touch()
        (folder / "fetch/Cargo.toml").write_text(
            '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2024"\n[lib]\npath = "lib.rs"\n[workspace]\n'
            f'[dependencies]\n{name} = {{ version = "={version}", default-features = false }}\n'
        )
        subprocess.run(["cargo", "fetch", "--quiet"], cwd=folder / "fetch", check=True)
        home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
        crate = next(home.glob(f"registry/cache/*/{name}-{version}.crate"))
        got = hashlib.sha256(crate.read_bytes()).hexdigest()
        assert got == sha256, f"{crate} has the sha256 {got}, expected {sha256}"
        subprocess.run(["tar", "-xzf", crate, "-C", folder], check=True)

    return once(f"{name}-{version}-source", f"the tests of {name} {version}", make) / f"{name}-{version}"
