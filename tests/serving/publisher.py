"""A publisher in its own process, which dies at the place that it is told.

Takes the data folder, and a function of serving as `<module>.<name>` at whose start (or
`after <module>.<name>`, at whose end) the process kills itself, or a number of milliseconds after
which it does.
"""

import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

import duckdb
from planted_warehouse import fill_warehouse, make_manifest

from cx_pipeline.serving.publish import publish
from cx_pipeline.settings import load_settings

settings = load_settings(data_dir=Path(sys.argv[1]))
place = sys.argv[2]


def die() -> None:
    """End as a machine does that loses power: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


con = duckdb.connect(str(settings.warehouse_path))
generation = con.execute("select max(generation) from journey.touchpoints").fetchall()[0][0] + 1
fill_warehouse(con, generation)
if place.isdigit():

    def watch() -> None:
        """Wait and die."""
        time.sleep(int(place) / 1000)
        die()

    threading.Thread(target=watch, daemon=True).start()
else:
    module_name, name = place.removeprefix("after ").split(".")
    module = import_module(f"cx_pipeline.serving.{module_name}")
    original = getattr(module, name)

    def and_die(*arguments: object) -> None:
        """Do what was asked, or not even that, and die."""
        if place.startswith("after "):
            original(*arguments)
        die()

    setattr(module, name, and_die)
sys.stdout.write("publishing\n")
sys.stdout.flush()
while True:
    publish(con, settings, make_manifest(con))
    generation += 1
    fill_warehouse(con, generation)
