"""A reader in its own process: opens the published file again and again and judges what it sees.

Takes the serving folder and a name. Adds a byte to `<name>.count` after every open; at the first
thing that is wrong it says what and exits with 1. Ends when a file `stop` appears. Knows nothing
but duckdb, so that any version of it can be asked.
"""

import sys
from pathlib import Path

import duckdb

folder, name = Path(sys.argv[1]), sys.argv[2]
count_file = folder.parent / f"{name}.count"
newest = 0
while not (folder.parent / "stop").exists():
    connection = duckdb.connect(str(folder / "bi.duckdb"), read_only=True)
    version = connection.execute("select version from publication.version").fetchall()[0][0]
    generations = set()
    for table in ("journey.touchpoints", "experience.feedback", "customer_360.customers"):
        for (generation,) in connection.execute(
            f"select distinct generation from {table}"
        ).fetchall():
            generations.add(generation)
    rows = connection.execute("select count(*) from journey.touchpoints").fetchall()[0][0]
    promised = connection.execute(
        "select row_count from publication.manifest where table_name = 'touchpoints'"
    ).fetchall()[0][0]
    connection.close()
    if len(generations) != 1:
        sys.exit(f"torn: version {version} holds generations {sorted(generations)}")
    if rows != promised:
        sys.exit(f"torn: version {version} promises {promised} touchpoints and holds {rows}")
    if version < newest:
        sys.exit(f"backwards: version {version} after {newest}")
    newest = version
    with count_file.open("ab") as counted:
        counted.write(b".")
