#!/usr/bin/env python3
"""Joins the dashboard into one HTML file, and that into a C file that the daemon serves it from.

    web_page.py WEB_FOLDER NODE_MODULES OUT.c [OUT.html]

index.html names its parts as any page would: <link rel="stylesheet" href="FILE">, <script src="FILE"> and
<script type="module" src="FILE">. Each is replaced by what the file holds; those of uPlot come from NODE_MODULES as
they are, with their licence's banner, and are left out where they are missing.

esbuild bundles and minifies what is ours. Where it is missing this script does it, more simply: modules become one
script in the order in which they import each other, without their import lines and the word "export" (so names at the
top level of a module must be the page's only ones), and without comments and indentation.

The page's Content-Security-Policy allows what stands in it, by hash, and nothing else."""

import base64
import hashlib
import pathlib
import re
import subprocess
import sys

PAGE_MAX = 100_000  # bytes, esbuild's help provided

IMPORT = re.compile(r'^import\s[^;]*?from "\./([\w-]+\.js)";\n', re.M)
TOP_LEVEL = re.compile(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", re.M)
# Comments that stand on lines of their own: what stands behind code might be part of a text.
COMMENT = re.compile(r"^[ \t]*(?://[^\n]*|/\*(?:(?!\*/).)*\*/[ \t]*)\n", re.M | re.S)
BLANK = re.compile(r"^[ \t]+|[ \t]+$|^\n", re.M)


def fail(message):
    sys.exit(f"web_page.py: {message}")


class Modules:
    """Joined without esbuild."""

    def __init__(self, web):
        self.web = web
        self.done, self.names = set(), {}

    def join(self, name):
        """The module and all that it imports, the imported ones first."""
        if name in self.done:
            return ""
        self.done.add(name)
        text = (self.web / name).read_text()
        before = "".join(self.join(part) for part in IMPORT.findall(text))
        for top in TOP_LEVEL.findall(text):
            if top in self.names:
                fail(f"{name}: {top} is also a name in {self.names[top]}")
            self.names[top] = name
        text = re.sub(r"^export ", "", IMPORT.sub("", text), flags=re.M)
        if re.search(r"^(import|export)\b", text, re.M):
            fail(f"{name}: an import or export of another form than this script knows")
        return before + BLANK.sub("", COMMENT.sub("", text))


class Page:
    def __init__(self, web, node_modules):
        self.web, self.dist = web, node_modules / "uplot" / "dist"
        self.esbuild = node_modules / ".bin" / "esbuild"
        self.hashes = {"script": [], "style": []}
        self.is_minified = self.esbuild.exists()

    def minified(self, name, *options):
        """What esbuild makes of a file; None where it is missing or does not run here."""
        if not self.is_minified:
            return None
        command = [self.esbuild, self.web / name, "--minify", "--charset=utf8", "--log-level=error", *options]
        try:
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        except subprocess.CalledProcessError as error:
            fail(error.stderr)
        except OSError:
            self.is_minified = False
        return None

    def element(self, kind, text):
        if f"</{kind}" in text.lower():
            fail(f"a {kind} holds its own end tag")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        self.hashes[kind].append(f"'sha256-{digest}'")
        return f"<{kind}>{text}</{kind}>"

    def library(self, kind, name):
        path = self.dist / name
        return self.element(kind, path.read_text()) if path.exists() else ""

    def style(self, match):
        name = match[1]
        if name.startswith("uPlot."):
            return self.library("style", name)
        text = self.minified(name)
        if text is None:
            text = re.sub(r"/\*.*?\*/", "", (self.web / name).read_text(), flags=re.S)
            text = re.sub(r"\s+", " ", text).strip()
        return self.element("style", text)

    def script(self, match):
        is_module, name = match[1], match[2]
        if not is_module:
            return self.library("script", name)
        text = self.minified(name, "--bundle", "--format=iife", "--target=es2022")
        if text is None:
            text = '"use strict";(() => {\n' + Modules(self.web).join(name) + "})();"
        return self.element("script", text)

    def html(self):
        html = (self.web / "index.html").read_text()
        html = BLANK.sub("", re.sub(r"<!--.*?-->", "", html, flags=re.S))
        html = re.sub(r'<link rel="stylesheet" href="([^"]+)">', self.style, html)
        html = re.sub(r'<script( type="module")? src="([^"]+)"></script>', self.script, html)
        if self.is_minified and len(html.encode()) >= PAGE_MAX:
            fail(f"the page has {len(html.encode())} bytes; at most {PAGE_MAX} were promised")
        return html

    def policy(self):
        return "; ".join([
            "default-src 'none'",
            "script-src " + " ".join(self.hashes["script"]),
            "style-src " + " ".join(self.hashes["style"]),
            "connect-src 'self'",
            "img-src data:",  # the icon
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ])


def c_file(page, policy):
    rows = [",".join(map(str, page[i:i + 32])) for i in range(0, len(page), 32)]
    return ("/* Generated by cmake/web_page.py. */\n"
            '#include "serve/web_page.h"\n\n'
            "const unsigned char web_page[] = {\n" + ",\n".join(rows) + "};\n"
            f"const size_t web_page_len = {len(page)};\n"
            f'const char web_page_policy[] = "{policy}";\n')


def main():
    if len(sys.argv) not in (4, 5):
        fail("usage: web_page.py WEB_FOLDER NODE_MODULES OUT.c [OUT.html]")
    page = Page(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
    html = page.html().encode()
    pathlib.Path(sys.argv[3]).write_text(c_file(html, page.policy()))
    if len(sys.argv) == 5:
        pathlib.Path(sys.argv[4]).write_bytes(html)


if __name__ == "__main__":
    main()
