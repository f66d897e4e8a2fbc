"""The list of packages (packages.tsv) and the command-line options that all steps share."""

import os
from dataclasses import dataclass
from pathlib import Path

HEADER = "ecosystem\tname\tversion\tlicence\tlanguages\tsplit"


@dataclass
class Package:
    ecosystem: str
    name: str
    version: str
    licence: str
    languages: tuple
    split: str

    @property
    def key(self):
        """A file name of its own."""
        return f"{self.ecosystem}--" + self.name.replace("/", "--").replace(":", "--")


def read(path):
    rows = [line.split("\t") for line in Path(path).read_text().splitlines()[1:] if line.strip()]
    listed = [Package(e, n, "" if v == "-" else v, "" if l == "-" else l, tuple(langs.split(",")), s)
              for e, n, v, l, langs, s in rows]
    keys = [p.key for p in listed]
    twice = {k for k in keys if keys.count(k) > 1}
    if twice:
        raise SystemExit(f"{path}: listed twice: {', '.join(sorted(twice))}")
    return listed


def write(path, listed):
    rows = ["\t".join((p.ecosystem, p.name, p.version or "-", p.licence or "-", ",".join(p.languages), p.split))
            for p in listed]
    Path(path).write_text("\n".join([HEADER, *rows]) + "\n")


def default_work():
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "inline-train"


def add_options(parser):
    parser.add_argument("--work", type=lambda p: Path(p).resolve(), default=default_work(),
                        help="where everything is kept (default: %(default)s)")
    parser.add_argument("--list", type=Path, default=Path(__file__).with_name("packages.tsv"),
                        help="the list of packages (default: packages.tsv beside this program)")
    parser.add_argument("--seed", type=int, default=1)

