"""Which files of a package are training text, and how their text is cleaned.

judge() gives a file's language and clean text, or the reason why it is left out. The rules aim at code that a
person wrote and would want completed: nothing generated, minified, vendored or encoded, no secrets, no licence texts.
"""

import hashlib
import re
from pathlib import PurePosixPath

import licences

LANGUAGES = ("c", "cpp", "python", "javascript", "typescript", "go", "rust", "java", "shell", "markdown")

MIN_BYTES, MAX_BYTES = 200, 256 << 10

SUFFIXES = {
    ".c": "c", ".h": "c",
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".inl", ".ipp"), "cpp"),
    ".py": "python",
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), "javascript"),
    **dict.fromkeys((".ts", ".tsx", ".mts", ".cts"), "typescript"),
    ".go": "go", ".rs": "rust", ".java": "java",
    **dict.fromkeys((".sh", ".bash", ".zsh", ".ksh", ".bats"), "shell"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
}

# Folders of other projects' code, of build results, and of inputs to tests.
SKIPPED_FOLDERS = re.compile(
    r"(^|/)(vendor(ed)?|_vendor|third[-_]?party|3rd[-_]?party|node_modules|deps|external(s)?|extern|bower_components|"
    r"contrib/libs|llvm-project|test-?data|test_?files|fixtures?|__fixtures__|__snapshots__|snapshots|corpus|baselines|"
    r"dist|generated|gen|locales?|i18n|min|umd|amd|bundles?|__generated__|debian)/"
    r"|(^|/)(clang|llvm|lld|lldb|flang|mlir|polly|clang-tools-extra|compiler-rt|libcxx|libclc|openmp)[^/]*/(.*/)?test/"
    r"|(^|/)tests?/(ui|cases|run-pass|codegen|mir-opt|baselines|inputs?|data|expected)/")

SKIPPED_NAMES = re.compile(
    r"(?i)(.*[.-]min\.m?js|.*\.bundle\.js|.*\.d\.[mc]?ts|.*[._]pb2?(_grpc)?\.(go|py|h|cc)|.*\.pb\.\w+|.*_generated\.\w+|"
    r"zz_generated.*|.*\.gen\.\w+|.*\.snap|package-lock.*|configure|ltmain\.sh|config\.(guess|sub|h)|aclocal.*|"
    r"change(s|log)[^/]*\.md|history\.md|releases?[-_ ]?notes?[^/]*\.md|licen[sc]e[^/]*|copying[^/]*|notice[^/]*|"
    r"authors[^/]*|contributors[^/]*|code_of_conduct[^/]*)")

# Searching for plain words first is ten times as fast as the expressions below.
GENERATED_WORDS = ("generated", "do not edit", "do not modify", "gnu bison", "bindgen")
SECRET_WORDS = ("PRIVATE KEY", "AKIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "xox", "AIza", "sk_", "npm_", "glpat-", "eyJ", "AccountKey=")
GENERATED = re.compile(
    r"do not (edit|modify)|@generated|generated (by|from|with|using|code|file)|auto-?generated|automatically "
    r"(generated|created)|machine generated|this file was generated|gnu bison|bindgen")

SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bxox[abprs]-[0-9A-Za-z-]{10,}|"
    r"\bAIza[0-9A-Za-z_-]{35}|\bsk_(live|test)_[0-9A-Za-z]{16,}|\bnpm_[A-Za-z0-9]{36}|\bglpat-[\w-]{20}|"
    r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.|\bAccountKey=[A-Za-z0-9+/=]{40,}")

EMAIL = re.compile(r"\b(?!git@|name@)[\w.+-]{2,64}@[\w-]+(\.[\w-]+)*\."
                   r"(com|org|net|edu|gov|io|info|dev|eu|de|uk|fr|jp|ru|cn|cz|ca|ch|nl|se|it|us|au|at|pl|be|br|fi|no|dk)\b")

CPLUSPLUS = re.compile(r"^\s*(class\s+\w|namespace\s|template\s*<|using\s+\w|public:|private:)|std::|\w::\w", re.MULTILINE)

LEADING_COMMENT = re.compile(r"\s*(/\*.*?\*/|(?:[ \t]*//[^\n]*\n)+|(?:[ \t]*#(?![!]|\s*(?:include|define|if|ifndef|pragma|"
                             r"undef|import|error)\b)[^\n]*\n)+|<!--.*?-->|(?:\"\"\"|''').*?(?:\"\"\"|'''))", re.DOTALL)
LEGAL = re.compile(r"copyright|licen[sc]e|SPDX-|all rights reserved|\(c\) (19|20)\d\d", re.IGNORECASE)
SHORT_LEGAL = 160   # characters: a one- or two-line notice
KEPT_SHORT_LEGAL = 0.1  # of the files that have one

SPECIAL = re.compile(r"<\|(endoftext|fim_prefix|fim_suffix|fim_middle|fim_pad|repo_name|file_sep)\|>")


def share(*words):
    """A number in [0, 1) that depends on the words only."""
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=6).digest(), "big") / (1 << 48)


def candidate(path):
    """The language by name, "?" for a name without suffix (its first line decides), None for no language of ours."""
    suffix = PurePosixPath(path).suffix.lower()
    return SUFFIXES.get(suffix) or ("?" if not suffix and "/" in path else None)


def skipped(path):
    name = path.rsplit("/", 1)[-1]
    if SKIPPED_FOLDERS.search(path):
        return "vendored or test data"
    return "generated or legal by name" if SKIPPED_NAMES.fullmatch(name) else None


def _language(path, text):
    guess = candidate(path)
    if guess == "?":
        first = text.split("\n", 1)[0]
        if re.match(r"#!.*\b(ba|z|k|da|mk)?sh\b", first) or re.match(r"#(compdef|autoload)\b", first):
            return "shell"
        return "python" if re.match(r"#!.*\bpython", first) else None
    if guess == "c" and path.endswith(".h") and CPLUSPLUS.search(re.sub(r"#ifdef __cplusplus.*?#endif", "", text,
                                                                     flags=re.DOTALL)):
        return "cpp"
    return None if guess == "typescript" and text.lstrip().startswith("<") else guess


def _without_legal(path, text):
    """The text without the legal comments at its top; a share of the short ones stays."""
    shebang = re.match(r"#!.*\n", text)
    start = shebang.end() if shebang else 0
    for _ in range(3):
        found = LEADING_COMMENT.match(text, start)
        if not found or not LEGAL.search(found.group()):
            break
        if len(found.group()) <= SHORT_LEGAL and share("legal", path) < KEPT_SHORT_LEGAL:
            break
        text = text[:start] + text[found.end():].lstrip("\n")
    return text


def _unreadable(text, language):
    """Why the text is no code that a person reads, or None."""
    lines = text.split("\n")
    mean, longest = (300, 3000) if language == "markdown" else (100, 1000)
    if len(text) / len(lines) > mean or max(map(len, lines)) > longest:
        return "minified"
    ascii_count = len(text.encode("ascii", "ignore"))
    if ascii_count < 0.8 * len(text):
        return "mostly not ASCII"
    digits = sum(map(text.count, "0123456789"))
    hex_digits = sum(map(len, re.findall(r"0x[0-9a-fA-F]+", text))) if "0x" in text else 0
    if digits > 0.25 * len(text) or hex_digits > 0.2 * len(text):
        return "mostly numbers"
    encoded = sum(len(l) for l in lines if len(l) >= 72 and re.search(r"[A-Za-z0-9+/=]{72}", l))
    if encoded > 0.1 * len(text):
        return "mostly base64"
    if len(set(lines)) < 0.3 * len(lines) and len(lines) > 40:
        return "repetitive"
    return None


def judge(path, data, languages):
    """(language, text) or (None, reason)."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None, "not UTF-8"
    if "\0" in text:
        return None, "binary"
    language = _language(path, text)
    if language not in languages:
        return None, "other language"
    head = text[:4000]
    lower = head[:1500].lower()
    if any(word in lower for word in GENERATED_WORDS) and GENERATED.search(lower):
        return None, "generated"
    if language != "markdown" and licences.foreign(head):
        return None, "other licence"
    if any(word in text for word in SECRET_WORDS) and SECRETS.search(text):
        return None, "secret"
    if "<|" in text and SPECIAL.search(text):
        return None, "holds a special token"
    text = _without_legal(path, text).strip("\n") + "\n"
    if "@" in text:
        text = "".join(EMAIL.sub("name@example.com", line) if "@" in line else line
                       for line in text.splitlines(keepends=True))
    if len(text) < MIN_BYTES:
        return None, "too short"
    reason = _unreadable(text, language)
    return (None, reason) if reason else (language, text)
