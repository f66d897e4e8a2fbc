"""The places that are asked about: what they are, and the list of them (places.tsv).

A place is a file of a package, an offset and a length, in characters, of that file's text: a hole is what is taken out
there. The list holds a hash of each file, so that it can be seen that the text is the one that the list was made of."""

import hashlib
import pathlib
from dataclasses import astuple, dataclass, fields

LISTED = pathlib.Path(__file__).resolve().parent / "places.tsv"

# Holes. A line's rest; several lines; a line's rest that has a name which this file does not know.
HOLES = ("line", "block", "cross")
# Places where nothing should be suggested. The text is whole; "deleting": `length` characters are being taken away.
QUIET = ("in-word", "in-number", "deleting", "after-statement", "after-block")


@dataclass(frozen=True)
class Place:
    kind: str
    language: str
    package: str
    path: str
    at: int
    length: int
    digest: str
    name: str = "-"  # of a cross-file hole: what is defined elsewhere

    @property
    def key(self):
        return f"{self.kind}/{self.package}/{self.path}/{self.at}+{self.length}"

    def cut(self, text):
        """The texts before, in, and after the place."""
        if digest(text) != self.digest:
            raise SystemExit(f"eval: {self.package}: {self.path} is not the file that places.tsv was made of")
        end = self.at + self.length
        return text[:self.at], text[self.at:end], text[end:]


COLUMNS = [field.name for field in fields(Place)]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(path=LISTED):
    header, *rows = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    if header.split("\t") != COLUMNS:
        raise SystemExit(f"eval: {path} is not a list of places")
    return [Place(*(int(value) if name in ("at", "length") else value for name, value in zip(COLUMNS, row.split("\t"))))
            for row in rows]


def write(places, path=LISTED):
    rows = ["\t".join(map(str, astuple(place))) for place in places]
    pathlib.Path(path).write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n", encoding="utf-8")


def sample(places, share):
    """Every n-th place of each kind and language, so that about `share` of all is left."""
    groups = {}
    for place in places:
        groups.setdefault((place.kind, place.language), []).append(place)
    chosen = set()
    for group in groups.values():
        n = max(1, round(len(group) * share))
        chosen.update(group[i * len(group) // n] for i in range(n))
    return [place for place in places if place in chosen]
