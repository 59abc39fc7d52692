"""Generate the boxes task: train, dev and test splits and the stratified test subset, in the public
release's schema.

    python experiments/01_generate_data.py --out data/boxes --seed 27 \\
        --checksums data/checksums.sha256

With --release-zip the release's own files are unpacked instead. Takes seconds; the same bytes on
every run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout comes first

from boxes.commandline import argument_parser, command, natural, out_file, out_folder
from boxes.dataset import FILES, SUBSET, read_examples, unpack_release, write_generated
from boxes.records import checksum_lines, verify_checksums, write_text
from boxes.world import NUM_BOXES


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--out", type=out_folder, required=True, help="folder of the four files")
    seed = "seed of the generator (default: %(default)s, see data/README.md)"
    release = "boxes-dataset-v1.zip: unpack it instead of generating"
    written = "write the checksums of what was generated"
    parser.add_argument("--seed", type=natural, default=27, help=seed)
    parser.add_argument("--release-zip", type=Path, help=release)
    parser.add_argument("--checksums", type=Path, help="compare with these checksums")
    parser.add_argument("--write-checksums", type=out_file, help=written)
    arguments = parser.parse_args()
    if arguments.release_zip:
        unpack_release(arguments.release_zip, arguments.out)
    else:
        write_generated(arguments.out, arguments.seed)
        if arguments.checksums:
            verify_checksums(arguments.out, arguments.checksums, FILES)
    if arguments.write_checksums:
        write_text(arguments.write_checksums, checksum_lines(arguments.out, FILES))
    examples = read_examples(arguments.out / SUBSET)
    print(f"{arguments.out / SUBSET}: {len(examples)} descriptions, {NUM_BOXES * len(examples)} queries")


if __name__ == "__main__":
    main()
