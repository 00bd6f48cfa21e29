"""HDL tests skip, naming the tool, where a tool is missing."""

from pathlib import Path

import pytest
from bench import missing_tools

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = missing_tools()
    if not missing:
        return
    mark = pytest.mark.skip(reason=f"HDL tests need {', '.join(missing)}: pip install -e '.[hdl]' and a C++ compiler")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(mark)
