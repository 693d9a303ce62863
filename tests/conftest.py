"""The plugins of the test suite."""

pytest_plugins = ["tests.selection", "tests.missing", "tests.servers.fixtures", "tests.pipelines.fixtures"]
