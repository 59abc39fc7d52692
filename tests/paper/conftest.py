"""The reports that several files look at."""

import pytest
from report_fixture import RUN, rendered, run_command
from results_fixture import write_results


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """The folder of the reported profile and its two files as the command writes them."""
    folder = tmp_path_factory.mktemp("reported")
    write_results(folder, "reported")
    with pytest.MonkeyPatch.context() as patch:
        assert run_command(patch, folder, "reported", folder / "out") == 0
    return folder, {kind: (folder / "out" / f"report.{kind}").read_text() for kind in ("html", "md")}


@pytest.fixture(scope="session")
def partial(tmp_path_factory):
    """Both files of the profile paper, of which RUN was run."""
    return rendered(write_results(tmp_path_factory.mktemp("paper"), "paper", RUN), "paper")
