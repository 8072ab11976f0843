"""What the demo company is made of: stores, goods, staff, campaigns; and their true effects.

Keeps out: customers.
"""

from typing import NamedTuple

import numpy as np

from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.randomness import Dice, Floats, Integers

COUNTRY_POSITION = {country.code: position for position, country in enumerate(COUNTRIES)}


class Store(NamedTuple):
    """One store."""

    number: str
    city: str
    country: str
    postal_code: int
    opened: str
    busyness: float
    """Scale of its queues; the true cause behind its complaints."""


STORES = (
    Store("DK01", "København", "DK", 1100, "2009-03-02", 1.5),
    Store("DK02", "Aarhus", "DK", 8000, "2011-09-01", 0.9),
    Store("DK03", "Odense", "DK", 5000, "2014-05-15", 0.7),
    Store("DK04", "Aalborg", "DK", 9000, "2018-10-04", 0.6),
    Store("NO01", "Oslo", "NO", 150, "2015-04-09", 1.2),
    Store("NO02", "Bergen", "NO", 5003, "2019-03-21", 0.7),
    Store("SE01", "Stockholm", "SE", 11120, "2013-02-07", 1.3),
    Store("SE02", "Göteborg", "SE", 41103, "2017-08-24", 0.8),
    Store("DE01", "Hamburg", "DE", 20095, "2016-06-02", 1.0),
    Store("DE02", "Berlin", "DE", 10115, "2020-09-17", 1.4),
    Store("GB01", "London", "GB", 11, "2018-11-08", 1.6),
    Store("GB02", "Manchester", "GB", 12, "2021-05-20", 0.8),
)
STORE_COUNTRY = np.array([COUNTRY_POSITION[store.country] for store in STORES])
STORES_OF_COUNTRY = tuple(
    np.flatnonzero(position == STORE_COUNTRY) for position in range(len(COUNTRIES))
)

CATEGORIES = (
    "contact lenses",
    "vitamins",
    "water filters",
    "dental care",
    "skin care",
    "health devices",
    "kitchen",
    "lighting",
    "textiles",
    "rings",
    "necklaces",
    "watches",
)
CATEGORY_WEIGHTS = np.array([4, 12, 3, 9, 14, 6, 14, 8, 11, 7, 7, 5], dtype=float)
"""How often an occasion purchase falls on the category."""

_BRANDS = ("Nordvik", "Halden", "Solbo", "Fjordal", "Lumena", "Kilden")

_PRODUCTS: dict[str, tuple[str, ...]] = {
    # name | list price in kroner | units in a pack | days that a pack lasts (0: not used up)
    "contact lenses": (
        "Daily lenses 30-pack|189|30|45",
        "Daily lenses 90-pack|489|90|95",
        "Monthly lenses 6-pack|249|6|92",
        "Toric lenses 30-pack|269|30|46",
        "Lens solution 360 ml|89|1|60",
    ),
    "vitamins": (
        "Vitamin D 90 tablets|99|90|90",
        "Multivitamin 60 tablets|129|60|60",
        "Omega-3 120 capsules|189|120|62",
        "Magnesium 100 tablets|119|100|58",
        "Iron 60 tablets|95|60|64",
        "Probiotic 30 capsules|179|30|48",
        "Vitamin C 200 tablets|149|200|110",
    ),
    "water filters": (
        "Filter cartridge for the purifier|349|1|91",
        "Jug filter 4-pack|199|4|112",
        "Air filter HEPA|449|1|120",
    ),
    "dental care": (
        "Brush heads 4-pack|159|4|118",
        "Brush heads 8-pack|279|8|180",
        "Toothpaste sensitive 2-pack|69|2|58",
        "Sonic toothbrush|799|1|0",
        "Water flosser|649|1|0",
    ),
    "skin care": (
        "Day cream 50 ml|229|1|70",
        "Night cream 50 ml|259|1|74",
        "Sun lotion SPF 30|149|1|0",
        "Hand cream|79|1|0",
        "Face serum 30 ml|349|1|80",
        "Cleansing gel|119|1|0",
        "Eye cream 15 ml|279|1|0",
        "Body butter|139|1|0",
    ),
    "health devices": (
        "Blood pressure monitor|599|1|0",
        "Thermometer|199|1|0",
        "Massage gun|899|1|0",
        "Light therapy lamp|749|1|0",
        "Body scale|399|1|0",
        "Heating pad|349|1|0",
    ),
    "kitchen": (
        "Cast iron pot|699|1|0",
        "Chef knife|449|1|0",
        "Coffee grinder|549|1|0",
        "Stoneware plates 4-pack|329|1|0",
        "Carafe|199|1|0",
        "Storage jars|149|1|0",
        "Pan 28 cm|399|1|0",
        "Kettle|349|1|0",
        "Tea set|279|1|0",
        "Cutlery set|599|1|0",
    ),
    "lighting": (
        "Table lamp|499|1|0",
        "Floor lamp|1199|1|0",
        "Pendant|899|1|0",
        "Bedside lamp|349|1|0",
        "Lantern|229|1|0",
        "Wall lamp|549|1|0",
    ),
    "textiles": (
        "Linen bedding|799|1|0",
        "Wool blanket|649|1|0",
        "Bath towels 4-pack|299|1|0",
        "Cushion|249|1|0",
        "Table cloth|299|1|0",
        "Curtains|599|1|0",
        "Rug 140 x 200|1299|1|0",
        "Bathrobe|449|1|0",
    ),
    "rings": (
        "Silver ring|399|1|0",
        "Gold ring 8 ct|1899|1|0",
        "Gold ring 14 ct|3499|1|0",
        "Stacking ring|299|1|0",
        "Diamond ring 0.10 ct|5999|1|0",
    ),
    "necklaces": (
        "Silver necklace|499|1|0",
        "Gold necklace 8 ct|2199|1|0",
        "Pearl necklace|899|1|0",
        "Pendant heart|349|1|0",
        "Charm bracelet|599|1|0",
        "Earrings pearl|449|1|0",
    ),
    "watches": (
        "Watch steel 36 mm|1499|1|0",
        "Watch leather 40 mm|1299|1|0",
        "Sports watch|1899|1|0",
        "Wall clock|449|1|0",
    ),
}


class Products:
    """The goods, in columns; position 0 onwards in the order of the categories."""

    def __init__(self, dice: Dice) -> None:
        rows = [
            (category, *entry.split("|"))
            for category in CATEGORIES
            for entry in _PRODUCTS[category]
        ]
        self.count = len(rows)
        positions = np.arange(self.count)
        self.number = [f"1{position:02d}{position * 37 % 100:02d}" for position in positions]
        self.category = np.array([CATEGORIES.index(row[0]) for row in rows])
        self.name = [row[1] for row in rows]
        self.list_price = np.array([int(row[2]) for row in rows])
        self.pack_size = np.array([int(row[3]) for row in rows])
        self.pack_days = np.array([int(row[4]) for row in rows])
        self.brand = [_BRANDS[int(pick)] for pick in dice.below("brand", len(_BRANDS), positions)]
        self.quality = np.clip(dice.normal("product quality", positions), -2.2, 2.0)
        """True quality in standard deviations."""
        factors = np.array([country.price_factor for country in COUNTRIES])
        local = np.maximum(np.round(self.list_price[:, None] * factors[None, :]), 5)
        self.price_cents = (local * 100 - np.where(factors < 1, 1, 0)[None, :]).astype(np.int64)
        """Price in hundredths of the local currency, by product and country."""
        self.first_of_category = np.searchsorted(self.category, np.arange(len(CATEGORIES)))
        self.size_of_category = np.bincount(self.category)
        self.replenishable = np.flatnonzero(self.pack_days > 0)


class LeasedDevice(NamedTuple):
    """One device that is leased and reports."""

    product_number: str
    name: str
    monthly_fee: int
    filter_name: str


LEASED_DEVICES = (
    LeasedDevice("90001", "Water purifier", 129, "Filter cartridge for the purifier"),
    LeasedDevice("90002", "Air purifier", 149, "Air filter HEPA"),
)
SUBSCRIPTION_FEE = 59
"""Kroner a month of the club's care subscription."""

STAFF_PER_STORE = 8
SERVICE_STAFF = 24
WAREHOUSE_STAFF = 16


class Staff:
    """The employees, in columns: stores first, then service, then warehouse."""

    def __init__(self, dice: Dice) -> None:
        in_stores = len(STORES) * STAFF_PER_STORE
        self.count = in_stores + SERVICE_STAFF + WAREHOUSE_STAFF
        positions = np.arange(self.count)
        self.first_service = in_stores
        self.number = [f"E{4000 + position * 7}" for position in positions]
        self.store = np.where(positions < in_stores, positions // STAFF_PER_STORE, -1)
        self.effect = np.clip(0.5 * dice.normal("employee effect", positions), -1.2, 1.0)
        """True effect on the latent satisfaction of whom they serve."""


def queue_minutes(store: Integers, weekday: Integers, hour: Integers) -> Floats:
    """Return the true mean wait in a store at an hour of a day of the week (0 = Monday)."""
    noon = np.exp(-(((hour - 12.5) / 1.5) ** 2))
    evening = np.exp(-(((hour - 16.5) / 1.2) ** 2))
    profile = np.where(weekday == 5, 9 * noon + 4 * evening + 2, 3 * noon + 5 * evening + 0.5)
    busyness = np.array([place.busyness for place in STORES])
    return busyness[store] * profile


class Campaign(NamedTuple):
    """One campaign on an ad platform."""

    platform: str
    campaign_id: str
    name: str
    countries: tuple[str, ...]
    orders_per_customer_year: float
    """Orders that it truly causes, per customer of its countries and year at full spend."""
    cost_per_order: float
    """Kroner spent per order that it truly causes."""
    overlap: float
    """Share of the other web orders of its countries that the platform also claims."""
    start_week: int
    weeks_on: int
    """Runs `weeks_on` of every four weeks, from `start_week` on."""


CAMPAIGNS = (
    Campaign("meta", "120210000000101", "DK | Prospecting | Home", ("DK",), 0.10, 760, 0.09, 0, 4),
    Campaign(
        "meta", "120210000000102", "Nordics | Retargeting", ("NO", "SE"), 0.06, 1120, 0.12, 0, 3
    ),
    Campaign("meta", "120210000000103", "DE | Jewellery", ("DE",), 0.05, 1680, 0.06, 1, 3),
    Campaign("google", "20000000201", "DK Search Brand", ("DK",), 0.02, 2640, 0.21, 0, 4),
    Campaign("google", "20000000202", "DK Search Generic", ("DK",), 0.09, 960, 0.07, 0, 4),
    Campaign("google", "20000000203", "SE NO Shopping", ("SE", "NO"), 0.08, 1040, 0.10, 0, 4),
    Campaign("google", "20000000204", "DE GB Shopping", ("DE", "GB"), 0.09, 1200, 0.10, 0, 4),
    Campaign("amazon", "amzn-30101", "GB Sponsored Brands", ("GB",), 0.05, 1280, 0.08, 0, 4),
    Campaign("amazon", "amzn-30102", "DE Display Health", ("DE",), 0.03, 2080, 0.07, 2, 2),
)
ORDER_VALUE = 540
"""Kroner of a typical order: the scale of claimed values."""
KRONER_PER_VISIT = 30
"""Kroner spent per visit that an ad brings."""

CARRIERS: dict[str, tuple[tuple[str, float], ...]] = {
    # carrier and how much likelier its parcels are late
    "DK": (("PostNordic", 0.03), ("GLX", 0.0)),
    "NO": (("Bringen", 0.04), ("PostNordic", 0.05)),
    "SE": (("PostNordic", 0.05), ("Budet", 0.01)),
    "DE": (("DHX", 0.0), ("Hermex", 0.06)),
    "GB": (("Royal Parcel", 0.04), ("Hermex", 0.08)),
}

BASE_LATE_PROBABILITY = 0.055
PEAK_LATE_PROBABILITY = 0.09
"""Added from 20 November to 23 December."""

LATE_EFFECT = -1.5
DAYS_LATE_EFFECT = -0.12
QUEUE_EFFECT_PER_MINUTE = -0.07
QUALITY_EFFECT = 0.5
WEATHER_EFFECT = 0.0
CHURN_AFTER_LATE = 0.10
"""Probability that a late delivery was the last occasion on which the customer bought."""
SLOWER_PER_UNHAPPY_POINT = 0.18
"""Share by which the next gap grows per latent point below zero."""
