"""Small dataset files made up here, an independent reading of them, encrypted zips, and the script
that makes the data."""

import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Starts a script in an interpreter that has imported nothing, so that the peak is the script's own.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print("peak MB", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(status)
"""


def generate_data(*arguments: object) -> subprocess.CompletedProcess:
    """experiments/01_generate_data.py, its peak of memory in the last line of its output."""
    script = [sys.executable, "experiments/01_generate_data.py", *map(str, arguments)]
    command = [sys.executable, "-c", MEASURED, *script]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, timeout=300)


CONTENTS = ("the car", "nothing", "the bag and the map", "nothing", "the tie", "nothing", "the hat")
DESCRIPTION = (
    "Box 0 contains the car and the shoe, Box 1 contains nothing, Box 2 contains the bag and the map, "
    "Box 3 contains nothing, Box 4 contains the tie, Box 5 contains nothing, Box 6 contains the hat. "
    "Remove the shoe from Box 0."
)
FIRST = ("the car and the shoe", *CONTENTS[1:])


def state_queries(sample_id: int, description: str, contents: tuple[str, ...], numops: tuple[int, ...]) -> list[dict]:
    return [
        {
            "sentence": f"{description} Box {box} contains {text}.",
            "sentence_masked": f"{description} Box {box} contains <extra_id_0> .",
            "masked_content": f"<extra_id_0> {text}",
            "sample_id": sample_id,
            "numops": count,
            "numops_by_op": {"move": 0, "remove": count, "put": 0},
        }
        for box, (text, count) in enumerate(zip(contents, numops, strict=True))
    ]


def two_states() -> list[dict]:
    """Fourteen queries made up here: before and after an operation."""
    opening = DESCRIPTION.removesuffix(" Remove the shoe from Box 0.")
    return state_queries(3, opening, FIRST, (0,) * 7) + state_queries(3, DESCRIPTION, CONTENTS, (1, *(0,) * 6))


def write_queries(path: Path, queries: list[dict]) -> Path:
    path.write_text("".join(json.dumps(query) + "\n" for query in queries))
    return path


class ZipCrypto:
    """The traditional encryption of zip archives (APPNOTE 6.1), which zipfile reads and does not
    write."""

    def __init__(self, password: bytes):
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self.update(byte)

    @staticmethod
    def crc(value: int, byte: int) -> int:
        return zlib.crc32(bytes([byte]), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    def update(self, byte: int) -> None:
        one, two, three = self.keys
        one = self.crc(one, byte)
        two = ((two + (one & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        self.keys = [one, two, self.crc(three, two >> 24)]

    def encrypt(self, content: bytes) -> bytes:
        out = bytearray()
        for byte in content:
            low = (self.keys[2] | 2) & 0xFFFF
            out.append(byte ^ (low * (low ^ 1) >> 8) & 0xFF)
            self.update(byte)
        return bytes(out)


def encrypted_zip(path: Path, members: dict[str, bytes], password: bytes) -> Path:
    """A zip of deflated members under a password."""
    body, directory = b"", b""
    for name, content in members.items():
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        data, crc = deflate.compress(content) + deflate.flush(), zlib.crc32(content)
        data = ZipCrypto(password).encrypt(bytes(11) + bytes([crc >> 24]) + data)
        fields = struct.pack("<4H3I2H", 1, 8, 0, 33, crc, len(data), len(content), len(name), 0)
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + struct.pack("<H", 20) + fields
        directory += struct.pack("<3H2I", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + struct.pack("<H", 20) + fields + name.encode() + data
    end = struct.pack("<4H2IH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path


OPENING = re.compile(r"^(Box \d contains [^.]*)\.")
CLAUSE = re.compile(r"Box (\d) contains ([^,]+)")
ACTION = re.compile(r"(Move|Remove|Put) ([^.]*?) (?:from Box (\d) to Box (\d)|(?:from|into) Box (\d))\.")


def replay_text(description: str) -> list[tuple[set[str], dict[str, int]]]:
    """What a description says, read without the package: for each box its objects, and moves,
    removes and puts so far."""
    opening = OPENING.match(description)
    clauses = CLAUSE.findall(opening[1])
    assert [number for number, _ in clauses] == list("0123456")
    boxes = [set() if text == "nothing" else set(text.replace("the ", "").split(" and ")) for _, text in clauses]
    counts = [{"move": 0, "remove": 0, "put": 0} for _ in boxes]
    consumed = len(opening[0])
    for verb, text, source, target, only in ACTION.findall(description, consumed):
        objects = set(text.replace("the ", "").split(" and "))
        consumed += 1 + len(f"{verb} {text} into Box {only}." if verb == "Put" else f"{verb} {text} from Box {only}.")
        if verb == "Move":
            consumed += len("from Box 0 to Box 0.") - len("from Box .")
            assert objects <= boxes[int(source)]
            assert not objects & boxes[int(target)]
            boxes[int(source)] -= objects
            boxes[int(target)] |= objects
            counts[int(source)]["move"] += 1
            counts[int(target)]["move"] += 1
        elif verb == "Remove":
            assert objects <= boxes[int(only)]
            boxes[int(only)] -= objects
            counts[int(only)]["remove"] += 1
        else:
            assert not objects & set().union(*boxes)
            boxes[int(only)] |= objects
            counts[int(only)]["put"] += 1
    assert consumed == len(description)  # no word is left over
    assert sum(map(len, boxes)) == len(set().union(*boxes))
    assert max(map(len, boxes)) <= 3
    return list(zip(boxes, counts, strict=True))
