"""The libraries export exactly what inline.h declares."""

import re
import subprocess
import sys

shared, static, header = sys.argv[1:]
declared = set(re.findall(r"INLINE_API\b[^;]*?\b(inline_\w+)\s*\(", open(header).read(), re.S))
status = 0
for library, options in ((shared, ["-D"]), (static, ["-g"])):
    listing = subprocess.run(["nm", "--defined-only", *options, library], capture_output=True, text=True, check=True)
    exported = {line.split()[2] for line in listing.stdout.splitlines() if len(line.split()) == 3}
    if exported != declared:
        print(f"{library}: exported but not declared: {sorted(exported - declared)}; "
              f"declared but not exported: {sorted(declared - exported)}")
        status = 1
sys.exit(status)
