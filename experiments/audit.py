"""Hold locks against the known vulnerabilities of their packages, as PyPI knows them; needs the network.

    python experiments/audit.py requirements.lock requirements-cpu.lock

Exit status 1 where a vulnerability is known, 3 where the service could not be asked about a single package.
"""

import json
import subprocess
import sys
from pathlib import Path

from boxes.arguments import argument_parser
from boxes.records import UserError, command

TOOL = (
    "tool",
    "run",
    "pip-audit@2.10.1",
    "--disable-pip",
    "--require-hashes",
    "--progress-spinner",
    "off",
    "-f",
    "json",
)


def audit(lock: str) -> list[dict]:
    """A lock's packages: name, version, and vulns (each with id and fix_versions) or skip_reason."""
    done = subprocess.run([Path(sys.prefix, "bin", "uv"), *TOOL, "-r", lock], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip() or "pip-audit said nothing").splitlines()[-1]
        raise UserError(f"{lock}: not audited ({reason}); run it where the network allows") from None


def verdict(lock: str, packages: list[dict]) -> int:
    """Say what was found; the exit status. A package that the service does not know counts as not asked about."""
    asked = [package for package in packages if "vulns" in package]
    found = [(package, vulnerability) for package in asked for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        mend = ", ".join(vulnerability["fix_versions"]) or "no version"
        print(f"{lock}: {package['name']} {package['version']}: {vulnerability['id']}, mended in {mend}")
    if not asked:
        print(f"{lock}: not audited: the service knows none of {len(packages)} packages from here", file=sys.stderr)
        return 3
    print(
        f"{lock}: {len(found)} known vulnerabilities in {len(asked)} of {len(packages)} packages that were asked about"
    )
    return int(bool(found))


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("locks", nargs="+", help="files of pinned packages with hashes")
    return max(verdict(lock, audit(lock)) for lock in parser.parse_args().locks)


if __name__ == "__main__":
    main()
