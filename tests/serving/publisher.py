"""A publisher in its own process, which dies at the place that it is told.

Takes the data folder, and a function of the publishing module at whose start (or `after <name>`,
at whose end) the process kills itself, or a number of milliseconds after which it does.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import duckdb
from planted_warehouse import fill_warehouse, make_manifest

from cx_pipeline.serving import publish as module
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
elif place.startswith("after "):
    name = place.removeprefix("after ")
    original = getattr(module, name)

    def and_die(*arguments: object) -> None:
        """Do what was asked, and die."""
        original(*arguments)
        die()

    setattr(module, name, and_die)
else:
    setattr(module, place, lambda *_: die())
sys.stdout.write("publishing\n")
sys.stdout.flush()
while True:
    module.publish(con, settings, make_manifest(con))
    generation += 1
    fill_warehouse(con, generation)
