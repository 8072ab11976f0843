"""The demo company: a seeded simulator of one omnichannel retailer.

Reads:     nothing but a seed and two dates
Writes:    exports as real systems would send them, and apart from them the truth about them
Keeps out: how exports are read (that is `sources`); no room may read the truth
"""

from cx_pipeline.demo.simulator import Summary, simulate

__all__ = ["Summary", "simulate"]
