"""``make bench``: every benchmark in turn, each in a process of its own; ``make bench`` takes no names,
``python -m benchmarks NAME …`` runs some."""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    known = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    names = sys.argv[1:] or known
    if unknown := [name for name in names if name not in known]:
        print(f"no benchmark {unknown[0]!r}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        begun = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
        print(f"({time.monotonic() - begun:.0f} s)")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
