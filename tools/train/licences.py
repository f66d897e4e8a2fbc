"""Which licences the training text may have, and how they are recognised.

Only permissive licences pass. A package says its licence in its own metadata (an SPDX expression or free
words); where it has only a licence file, the file's wording decides. Debian's copyright files (DEP-5, "machine-
readable debian/copyright") give a licence for each file.
"""

import re

# Lower-case patterns of whole licence names: SPDX identifiers, Debian's short names, registries' free words.
ALLOWED = [re.compile(p) for p in (
    r"(the )?mit([-/ ](0|style|like|modern[\w-]*|cmu|x11|x|license|licence|\d))*( license)?( \(mit\))?|expat(-\d)?|x11(-.*)?",
    r"(the |new |modified |simplified |revised |\d[- ]clause )*bsd(.?license|.?style|.?like)?([-. ]?\(?\d[- ]clauses?\)?)?( license)?",
    r"bsd[- ]?\d?[- ]?clause(s)?(-[a-z]+)?( license)?|bsd-\d-[a-z]+|.*\(bsd-\d-clause\)|.*bsd \d-clause.*",
    r"(the )?apache([ -]?software)?([ -]?licen[sc]e)?,?([ -]?v?(ersion )?2(\.0)?)?( licen[sc]e)?( with llvm-exception)?( \(?apache-2\.0\)?)?",
    r"apache-2(\.0)?([ -]?with)?[ -]llvm[-\w]*|asl ?2\.0|al2",
    r"isc( license.*)?|curl|ntp|0bsd|unlicen[sc]e|the unlicense.*",
    r"psf(-2(\.0)?)?|python-2(\.0(\.1)?)?|psf-based.*|python software foundation.*|(license :: osi approved :: )?python.*foundation license",
    r"zlib(/libpng)?( license)?|zlib-acknowledgement",
    r"public[- ]domain|pd|cc0(-1(\.0)?)?( universal)?|cc0 1\.0.*",
)]

# A file that names one of these in its first lines is left out, whatever its package says.
FOREIGN = ("general public licen", "gplv", "gpl-", "mozilla public", "eclipse public", "cddl", "creative commons",
           "common development and distribution", "server side public", "business source licen", "elastic licen",
           "boost software licen", "confidential and proprietary", "academic free licen", "european union public")
FOREIGN_SPDX = re.compile(r"spdx-license-identifier:\s*(?!.*(mit|apache-2|bsd|isc|unlicense|zlib|cc0|psf))")

# Words that only one licence has, tried in this order on the text of a licence file.
WORDINGS = (
    ("GPL", r"gnu (affero |lesser |library )?general public licen"),
    ("MPL", r"mozilla public licen"),
    ("EPL", r"eclipse public licen"),
    ("Apache-2.0", r"apache license,?\s+version 2\.0"),
    ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("BSD", r"redistribution and use in source and binary forms"),
    ("ISC", r"permission to use, copy, modify, and(/or)? distribute this software for any"),
    ("Unlicense", r"this is free and unencumbered software released into the public domain"),
    ("Zlib", r"this software is provided 'as-is', without any express or implied"),
)


def _name_allowed(name):
    name = re.sub(r"\s+", " ", name.strip().strip("()\"'").lower())
    name = re.sub(r"^license :: (osi approved :: )?", "", name)
    return any(p.fullmatch(name) for p in ALLOWED)


def allowed(expression):
    """An expression passes if one side of each "or" and all sides of each "and" (also written ",") pass."""
    if not expression:
        return False
    text = expression.strip()
    if _name_allowed(text):
        return True
    text = re.sub(r"[()]", " ", text)
    options = re.split(r"\s+(?:or|OR|Or)\s+|\s*\|\|?\s*|(?<=\w)/(?=[A-Z])", text)
    return any(all(_name_allowed(part) for part in re.split(r"\s*,?\s+(?:and|AND)\s+|\s*[,;]\s*", o) if part.strip())
               for o in options if o.strip())


def of_text(text):
    """The licence whose wording a licence file has, or None."""
    flat = re.sub(r"[\s*#]+", " ", text.lower())
    for name, wording in WORDINGS:
        if re.search(wording, flat):
            return name
    return None


def foreign(head):
    """Whether a file's first lines name a licence that is not on the list."""
    head = head.lower()
    return any(name in head for name in FOREIGN) or FOREIGN_SPDX.search(head) is not None


def _glob(pattern):
    """DEP-5 globs: only * and ?, and both match slashes."""
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern.replace("\\", ""))


class DebianCopyright:
    """The licence of each file by debian/copyright; the last paragraph that matches a path holds."""

    def __init__(self, text):
        self.machine_readable = bool(re.match(r"\s*(#.*\n)*format(-specification)?:", text, re.IGNORECASE))
        self.rules = []
        for paragraph in re.split(r"\n\s*\n", text):
            files = re.search(r"^Files:(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE | re.IGNORECASE)
            name = re.search(r"^License:[ \t]*(.*)", paragraph, re.MULTILINE | re.IGNORECASE)
            if files and name:
                globs = files.group(1).replace(",", " ").split()
                if globs:
                    self.rules.append((re.compile("|".join(map(_glob, globs))), name.group(1).strip()))

    def licence(self, path):
        for pattern, name in reversed(self.rules):
            if pattern.fullmatch(path):
                return name
        return None

    def summary(self):
        """The allowed licences that occur, for the record."""
        return sorted({n for _, n in self.rules if allowed(n)})
