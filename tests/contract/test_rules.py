"""Our own objects keep every rule, on each board that the tests use."""

from codecrig.contract.test_contract import test_rule  # noqa: F401 - collected here, on the boards of these tests
