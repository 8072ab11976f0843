"""dbt-duckdb plugin: gives dbt's connections what `session.connect` gives to Python's."""

from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.session import prepare_connection, prepare_session


class Plugin(BasePlugin):
    """Prepares each database and each cursor that dbt opens."""

    def initialize(self, config: dict[str, Any]) -> None:
        """Read the settings once; dbt-duckdb calls this when it loads the plugin."""
        self.settings = load_settings()

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Set limits and register functions on a newly opened database."""
        prepare_connection(conn, self.settings)

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set the session variables, which belong to one cursor."""
        prepare_session(cursor, self.settings)
