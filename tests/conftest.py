"""For all tests: what was added or recorded on this machine (`make model`, `make weights`) is not there."""

import os
import tempfile

os.environ["MODELS_RECORDS"] = tempfile.mkdtemp(prefix="records-")  # read when boxes.models.table is imported
