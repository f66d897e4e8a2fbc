"""What evaluation has to know of the languages: which files are whose, comments, and where names are defined.

Regular expressions, not parsers: they choose places to ask for, and what they miss is only not asked."""

import re

EXTENSIONS = {".c": "c", ".h": "c", ".cpp": "cpp", ".hpp": "cpp", ".inl": "cpp", ".py": "python", ".js": "javascript",
              ".ts": "typescript", ".go": "go", ".rs": "rust", ".java": "java"}
LANGUAGES = ("c", "cpp", "python", "javascript", "typescript", "go", "rust", "java")

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
COMMENT = re.compile(r"\s*(//|#(?!\s*(include|define|if|else|elif|endif|pragma|undef)|\[)|/\*|\*|\"\"\"|''')")
PROSE = re.compile(r"\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|/\*[\s\S]*?\*/")  # over several lines
IMPORT = re.compile(r"\s*(import\b|from\s+\S+\s+import\b|#\s*include\b|(pub\s+)?use\s|(pub\s+)?mod\s+\w+;|package\b|"
                    r"(export\b|\}).*\bfrom\b|.*\brequire\()")

# Words that patterns of definitions would take for a type or a name.
KEYWORDS = frozenset("""
    and as assert async await break case catch class const continue def default defer del do elif else enum except export
    extends finally fn for from func function go goto if impl implements import in instanceof interface is lambda let loop
    match mod namespace new not of or package panic pass pub raise range return select sizeof static struct super switch
    template this throw throws try type typedef typeof union unsafe use using var void where while with yield self
    public private protected final""".split())

# Words that begin a statement, never a definition.
STATEMENTS = frozenset("return else new throw case goto delete await yield".split())

_C = [
    r"^[ \t]*\w[\w:<>*&, \t]*[ \t*&:](\w+)[ \t]*\(",            # a function or its declaration, its type before it
    r"^(\w+)\(",                                                # the same, its type on the line before
    r"^[ \t]*#[ \t]*define[ \t]+(\w+)",
    r"\b(?:struct|union|enum|class)[ \t]+(?:SFML_\w+[ \t]+)?(\w+)\s*[:{]",
    r"^\}[ \t]*(\w+)[ \t]*;",                                   # typedef struct {...} NAME;
    r"^[ \t]+(\w+)[ \t]*(?:=[ \t]*[\w-]+[ \t]*)?,[ \t]*(?:/[/*].*)?$",  # an enumerator
]
_JAVASCRIPT = [
    r"\b(?:function\*?|class|interface|type|enum)[ \t]+(\w+)",
    r"^(?:export[ \t]+)?(?:const|let|var)[ \t]+(\w+)",
    r"^[ \t]+(?:async[ \t]+|static[ \t]+|get[ \t]+|set[ \t]+)*(\w+)[ \t]*\([^()]*\)[ \t]*(?::[^{}]+)?\{[ \t]*$",
    r"^[ \t]{1,4}(\w+)\??:[ \t]",                               # a property of an object or an interface
    r"^(?:[\w.]+\.prototype|exports|module\.exports)\.(\w+)[ \t]*=",
]
DEFINITIONS = {
    "c": _C,
    "cpp": _C,
    "python": [r"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", r"^[ \t]*class[ \t]+(\w+)",
               r"^(\w+)[ \t]*(?::[^=\n]+)?=[^=]", r"^[ \t]+self\.(\w+)[ \t]*(?::[^=\n]+)?=[^=]"],
    "javascript": _JAVASCRIPT,
    "typescript": _JAVASCRIPT,
    "go": [r"^func[ \t]+(?:\([^)]*\)[ \t]*)?(\w+)", r"^type[ \t]+(\w+)", r"^(?:var|const)[ \t]+(\w+)",
           r"^\t(\w+)(?:[ \t]+[\w*\[\].]+)?(?:[ \t]*=.*)?$"],   # a field, or one of a group of constants
    "rust": [r"\b(?:fn|struct|enum|trait|type|const|static|union)[ \t]+(\w+)", r"^[ \t]+pub(?:\([^)]*\))?[ \t]+(\w+)[ \t]*:",
             r"^    ([A-Z]\w+)[ \t]*[,({]", r"\bmacro_rules![ \t]*(\w+)"],
    "java": [r"\b(?:class|interface|enum|record)[ \t]+(\w+)", r"^[ \t]+\w[\w<>\[\],.?@ \t]*[ \t](\w+)[ \t]*\(",
             r"^[ \t]+(?:private|protected|public)[ \t][^=;()]*?(\w+)[ \t]*[=;]"],
}
# Fields stand in C's headers; the same shape in a source file is a local variable.
FIELD = re.compile(r"^[ \t]+\w[\w \t*&]*[ \t*&](\w+)(?:\[\w*\])?;", re.M)
PATTERNS = {language: [re.compile(p, re.M) for p in patterns] for language, patterns in DEFINITIONS.items()}


def of_path(path):
    """The language, or None."""
    return EXTENSIONS.get("." + path.rpartition(".")[2])


def definitions(path, text):
    """The set of names that a file seems to define."""
    patterns = list(PATTERNS[of_path(path)])
    if path.endswith((".h", ".hpp")):
        patterns.append(FIELD)
    names = set()
    for pattern in patterns:
        for match in pattern.finditer(text):
            first = IDENTIFIER.search(match.group())
            if first and first.group() not in STATEMENTS and match.group(1) not in KEYWORDS:
                names.add(match.group(1))
    return names
