"""Hold locks against the known vulnerabilities of their packages, as PyPI knows them; needs the network.

    python experiments/tools/audit.py requirements.lock requirements-cpu.lock

Exit status 1 where a vulnerability is known; otherwise 3 where a lock was not audited: pip-audit could not be run, or the
service could not be asked about a single package. `make lint` fails for the former alone.
"""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command
from boxes.records import UserError

VULNERABLE, NOT_AUDITED = 1, 3  # exit statuses
PATIENCE = 300  # seconds for one lock
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
    """A lock's packages: name, version, and vulns (each with id and fix_versions) or skip_reason. UserError where pip-audit
    could not say."""
    try:
        done = subprocess.run(
            [Path(sys.prefix, "bin", "uv"), *TOOL, "-r", lock], capture_output=True, text=True, timeout=PATIENCE
        )
        return json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        raise UserError(f"no answer in {PATIENCE} s") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = done.stderr.strip() if not isinstance(error, OSError) else str(error)
        raise UserError((said or "pip-audit said nothing").splitlines()[-1]) from None


def verdict(lock: str) -> int:
    """Say what was found in a lock; the exit status. A package that the service does not know counts as not asked about."""
    try:
        packages = audit(lock)
        asked = [package for package in packages if "vulns" in package]
        if not asked:
            reasons = {package["skip_reason"] for package in packages}
            raise UserError(f"none of {len(packages)} packages could be asked about, e.g. {min(reasons, default='-')}")
    except UserError as error:
        print(f"{lock}: not audited ({error}); run make audit where the network allows", file=sys.stderr)
        return NOT_AUDITED
    found = 0
    for package in asked:
        for vulnerability in package["vulns"]:
            mend = ", ".join(vulnerability["fix_versions"]) or "no version"
            print(f"{lock}: {package['name']} {package['version']}: {vulnerability['id']}, mended in {mend}")
            found += 1
    print(f"{lock}: {found} known vulnerabilities in {len(asked)} of {len(packages)} packages that were asked about")
    return VULNERABLE if found else 0


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("locks", nargs="+", help="files of pinned packages with hashes")
    statuses = [verdict(lock) for lock in parser.parse_args().locks]
    return VULNERABLE if VULNERABLE in statuses else max(statuses)


if __name__ == "__main__":
    main()
