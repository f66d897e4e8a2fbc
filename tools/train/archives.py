"""Reading the packages that fetch.py downloaded: their text files and what their metadata says of the licence."""

import json
import re
import tarfile
import tomllib
import xml.etree.ElementTree as xml
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import licences

LICENCE_FILE = re.compile(r"(?i)(meta-inf/)?(licen[sc]e|copying|unlicense)([.-][\w.-]*)?(/[\w.-]+)?")


def _tar_members(path, wanted):
    with tarfile.open(path, "r|*") as tar:
        for member in tar:
            if member.isreg():
                reader = lambda m=member: tar.extractfile(m).read()
                yield from _one(member.name, member.size, reader, wanted)


def _zip_members(path, wanted):
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield from _one(member.filename, member.file_size, lambda m=member: archive.read(m), wanted)


def _one(name, size, read, wanted):
    if wanted(name, size):
        yield name, read()


def members(path, wanted):
    """(name, bytes) of those members for which wanted(name, size) holds."""
    is_zip = path.suffix in (".zip", ".whl", ".jar")
    return _zip_members(path, wanted) if is_zip else _tar_members(path, wanted)


def inner_path(ecosystem, archive, name):
    """A member's path inside its project: without the folder that the archive wraps everything in."""
    name = name.removeprefix("./")
    if ecosystem == "go":  # host/owner/project@version/path
        return re.sub(r"^[^@]*@[^/]*/", "", name)
    if ecosystem in ("npm", "cargo", "debian") and "/" in name:
        inner = name.split("/", 1)[1]
        component = re.search(r"\.orig-([\w-]+)\.tar", archive.name)
        return f"{component.group(1)}/{inner}" if component else inner
    return name


def _first(path, pattern):
    for name, data in members(path, lambda n, size: size < 1 << 20 and re.fullmatch(pattern, n)):
        return data
    return b""


def _pypi(paths):
    text = _first(paths[0], r"[^/]+\.dist-info/METADATA").decode("utf-8", "replace")
    meta = HeaderParser().parsestr(text)
    names = [c for c in meta.get_all("Classifier", []) if c.startswith("License ::") and c.count("::") == 2]
    free = meta.get("License") or ""
    return meta.get("License-Expression") or (names[0] if len(names) == 1 else free.strip().split("\n")[0])


def _npm(paths):
    meta = json.loads(_first(paths[0], r"[^/]+/package\.json") or b"{}")
    value = meta.get("license") or meta.get("licenses") or ""
    if isinstance(value, list):
        return " OR ".join(v["type"] if isinstance(v, dict) else v for v in value)
    return value["type"] if isinstance(value, dict) else value


def _cargo(paths):
    meta = tomllib.loads(_first(paths[0], r"[^/]+/Cargo\.toml").decode())
    return str(meta.get("package", {}).get("license", "")).replace("/", " OR ")


def _maven(paths):
    pom = next((p for p in paths if p.suffix == ".pom"), None)
    if pom:
        root = xml.parse(pom).getroot()
        names = [e.text.strip() for e in root.iterfind(".//{*}licenses/{*}license/{*}name") if e.text]
        if names:
            return " OR ".join(names)
    return ""


def _wording(paths):
    """By the licence file at the top of the archive, or the head of its first source file."""
    for path in paths:
        if path.suffix == ".pom":
            continue
        wanted = lambda n, size: size < 1 << 18 and (LICENCE_FILE.fullmatch(re.sub(r"^.*@[^/]*/", "", n))
                                                     or LICENCE_FILE.fullmatch(n.split("/", 1)[-1]))
        for _, data in members(path, wanted):
            name = licences.of_text(data.decode("utf-8", "replace"))
            if name:
                return name
    for path in paths:
        if path.suffix == ".jar":
            for name, data in members(path, lambda n, size: n.endswith(".java")):
                found = licences.of_text(data[:3000].decode("utf-8", "replace"))
                if found:
                    return found
    return ""


def debian_copyright(paths):
    for path in paths:
        if ".debian.tar" in path.name or re.search(r"_[^_]*(?<!orig)\.tar\.\w+$", path.name) and ".orig" not in path.name:
            for name, data in members(path, lambda n, s: re.fullmatch(r"(\./)?([^/]+/)?debian/copyright", n)):
                return licences.DebianCopyright(data.decode("utf-8", "replace"))
    return None


def licence(ecosystem, paths):
    """What the package's own metadata calls its licence; for a Debian package, all the allowed ones in it."""
    if ecosystem == "debian":
        copyright_file = debian_copyright(paths)
        if copyright_file and copyright_file.rules:
            return " OR ".join(copyright_file.summary()) or copyright_file.rules[0][1]
        return _wording([p for p in paths if ".orig" in p.name])
    read = {"pypi": _pypi, "npm": _npm, "cargo": _cargo, "maven": _maven, "go": lambda paths: ""}[ecosystem]
    stated = re.sub(r"\s+", " ", str(read(paths))).strip()
    if stated and licences.allowed(stated):
        return stated
    vague = not stated or stated.lower() in ("unknown", "license", "other") or "see " in stated.lower() or len(stated) > 60
    return _wording(paths) if vague else stated
