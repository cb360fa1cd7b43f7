#!/usr/bin/env python3
"""Check that a source distribution holds the tracked files, and nothing else.

python .ci/check_sdist.py DIST.tar.gz
"""

import subprocess
import sys
import tarfile

LEFT_OUT = (".ci/", ".github/")
ADDED = {"PKG-INFO"}


def main() -> int:
    """Compare the archive with `git ls-files`; print what differs."""
    with tarfile.open(sys.argv[1]) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
    listing = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout
    wanted = {name for name in listing.splitlines() if not name.startswith(LEFT_OUT)}
    differences = [f"missing: {name}" for name in sorted(wanted - packed)]
    differences += [f"not tracked: {name}" for name in sorted(packed - wanted - ADDED)]
    print("\n".join(differences) or f"{sys.argv[1]}: {len(packed)} files, as tracked")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
