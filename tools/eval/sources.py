"""The packages that quality is measured on: held-out ones of tools/train/packages.tsv, as folders on disk.

They are fetched once by the ordinary clients (tools/train/fetch.py) and unpacked below the cache's folder; a package
keeps the files of its own code and not what was generated from them."""

import os
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "train"))

import languages
import packages

# What of each package is its own code: files below these folders, or of these names.
CODE = {
    "debian--yajl": ("src/",),
    "debian--libyaml": ("src/", "include/"),
    "debian--libsfml": ("src/SFML/", "include/SFML/"),
    "pypi--httpx": ("httpx/",),
    "pypi--flask": ("flask/",),
    "npm--fastify": ("lib/", "fastify.js"),
    "npm--commander": ("lib/", "index.js"),
    "npm--immer": ("src/",),
    "npm--comlink": ("src/",),
    "go--github.com--charmbracelet--bubbletea": ("",),
    "go--github.com--go-chi--chi--v5": ("",),
    "cargo--fd-find": ("src/",),
    "cargo--bat": ("src/",),
    "maven--com.zaxxer--HikariCP": ("com/",),
}
LISTED = HERE.parent / "train" / "packages.tsv"
FILE_MAX = 400_000  # bytes; longer files are data


def listed(key):
    """The package's row in packages.tsv."""
    return next(p for p in packages.read(LISTED) if p.key == key)


def default_cache():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "inline-eval"


def _wanted(key, path):
    """Whether a file, by its path in the project, is code of the package."""
    return languages.of_path(path) is not None and ".." not in path.split("/") and not path.startswith("/") \
        and path.startswith(CODE[key])


def _unpack(package, record, folder, into):
    import archives  # here and below: what chooses and scores runs with any Python 3.8; this needs 3.11

    for name in record["archives"]:
        archive = folder / name
        if package.ecosystem == "debian" and ".orig" not in name or archive.suffix == ".pom":
            continue
        path_of = lambda member: archives.inner_path(package.ecosystem, archive, member)
        for member, data in archives.members(
                archive, lambda member, size: size <= FILE_MAX and _wanted(package.key, path_of(member))):
            path = into / path_of(member)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def tree(key, cache):
    """The package's folder, made if it is not there."""
    import fetch

    package = listed(key)
    if package.split != "heldout":
        raise SystemExit(f"{key} is not held out from training")
    final = cache / "trees" / f"{key}-{package.version.replace('/', '-').replace(':', '-')}"
    if not final.exists():
        cache.mkdir(parents=True, exist_ok=True)
        print(f"eval: getting {package.ecosystem} package {package.name} {package.version}", file=sys.stderr)
        try:
            record = fetch.fetch(package, cache)
        except fetch.FAILURES as error:
            raise SystemExit(f"eval: {package.ecosystem} package {package.name}: {error}")
        with tempfile.TemporaryDirectory(dir=cache) as made:
            into = pathlib.Path(made) / "tree"
            into.mkdir()
            _unpack(package, record, cache / "archives" / key, into)
            final.parent.mkdir(exist_ok=True)
            shutil.move(into, final)
    return final


def texts(folder):
    """{path in the package: text} of the files that are UTF-8 with Unix line ends."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        if "\r" not in text and "\0" not in text:
            found[path.relative_to(folder).as_posix()] = text
    return found
