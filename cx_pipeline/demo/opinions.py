"""Surveys and reviews: who is asked, who answers, what they answer and write, and why.

An answer follows from the latent satisfaction of the contact it is about; a text names what
truly moved it most.
Keeps out: the causes themselves (`catalogue`, `purchases`, `service`).
"""

import numpy as np

from cx_pipeline.demo.catalogue import QUALITY_EFFECT, QUEUE_EFFECT_PER_MINUTE
from cx_pipeline.demo.consents import Consents
from cx_pipeline.demo.formatting import DAY_SECONDS
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import (
    STORE,
    Columns,
    Purchases,
    is_known_at_till,
    mean_recent_felt,
    stack,
    take,
)
from cx_pipeline.demo.randomness import Flags, Floats, Integers
from cx_pipeline.demo.texts import TOPICS
from cx_pipeline.demo.world import NEVER, World

AFTER_DELIVERY, AFTER_VISIT, AFTER_CASE, RELATIONSHIP = range(4)
SURVEYS = ("csat-delivery", "csat-store", "service-effort", "nps-relationship")
TOUCHPOINTS = ("delivery", "store_visit", "case", "relationship")
NPS, CSAT, CES = range(3)
METRICS = ("NPS", "CSAT", "CES")
CSAT_MIDDLE, CSAT_SLOPE = 4.1, 0.95
NPS_MIDDLE, NPS_TRAIT, NPS_SLOPE = 7.9, 1.6, 1.4
NPS_NOISE = 1.6
CES_MIDDLE, CES_SLOPE = 5.3, 1.0
HALF_YEAR = 182


def make_invites(
    world: World, people: People, purchases: Purchases, cases: Columns, consents: Consents
) -> Columns:
    """Return the survey invitations sent before `now`, to those who allowed surveys."""
    dice, orders = world.dice, purchases.orders
    parts: list[Columns] = []

    def add(kind: int, row: Integers, at: Integers, about: Integers, key: Integers) -> None:
        parts.append(
            {
                "kind": np.full(len(row), kind),
                "row": row,
                "at": at,
                "about": about,
                "key": key * 4 + kind,
            }
        )

    key = orders["key"]
    asked = dice.chance("asked", 0.5, key)
    delivered = orders["delivered_at"] < world.now
    rows = np.flatnonzero(asked & delivered)
    add(AFTER_DELIVERY, orders["row"][rows], orders["delivered_at"][rows] + 2 * DAY_SECONDS, rows,
        key[rows])  # fmt: skip
    rows = np.flatnonzero(asked & is_known_at_till(world, people, orders))
    add(AFTER_VISIT, orders["row"][rows], orders["placed_at"][rows] + 5 * 3_600, rows, key[rows])
    solved = np.where(cases["again_solved_at"] < NEVER, cases["again_solved_at"],
                      cases["solved_at"])  # fmt: skip
    rows = np.flatnonzero(solved < world.now)
    add(AFTER_CASE, cases["row"][rows], solved[rows] + 3_600, rows, cases["key"][rows])

    turns = np.arange(-(-world.days // HALF_YEAR) + 1)
    row = np.repeat(np.arange(people.size), len(turns))
    turn = np.tile(turns, people.size)
    index = people.index[row]
    phase = dice.below("nps phase", HALF_YEAR, index)
    at = world.begins + (turn * HALF_YEAR + phase) * DAY_SECONDS + 10 * 3_600
    wanted = dice.chance("nps asked", 0.55, index, turn)
    wanted &= at > people.joined_at[row] + 60 * DAY_SECONDS
    row, turn, at = row[wanted], turn[wanted], at[wanted]
    add(RELATIONSHIP, row, at, np.full(len(row), -1), people.index[row] * 64 + turn)

    invites = stack(parts)
    at = invites["at"]
    allowed = consents.may_survey(invites["row"], at) & (at >= world.begins) & (at < world.now)
    invites = take(invites, allowed & people.in_crm[invites["row"]])
    rate = np.array([0.21, 0.15, 0.33, 0.24])[invites["kind"]]
    answers = dice.chance("answers", rate, invites["key"], invites["kind"])
    wait = 600 + (1.1 * DAY_SECONDS * dice.exponential("answer wait", invites["key"])).astype(int)
    invites["answered_at"] = np.where(answers, invites["at"] + wait, NEVER)
    return take(invites, np.lexsort((invites["key"], invites["at"])))


def make_answers(
    world: World, people: People, purchases: Purchases, cases: Columns, invites: Columns
) -> Columns:
    """Return one row per answered question, with score, and topic and length of the text."""
    dice, orders = world.dice, purchases.orders
    given = take(invites, invites["answered_at"] < world.now)
    kind, about, key = given["kind"], given["about"], given["key"]
    is_order = (kind == AFTER_DELIVERY) | (kind == AFTER_VISIT)
    is_case = kind == AFTER_CASE
    order = np.where(is_order, about, -1)
    case = np.where(is_case, about, -1)
    trait = people.trait[given["row"]]
    recent = mean_recent_felt(orders, given["row"], given["at"], 200)
    felt = np.where(is_order, orders["felt"][order], recent)
    if len(cases["felt"]):
        felt = np.where(is_case, cases["felt"][case], felt)

    nps = NPS_MIDDLE + NPS_TRAIT * trait + NPS_SLOPE * (recent - trait)
    nps = np.clip(np.round(nps + NPS_NOISE * dice.normal("nps noise", key)), 0, 10)
    csat = np.clip(np.round(CSAT_MIDDLE + CSAT_SLOPE * felt), 1, 5)
    ces = np.clip(
        np.round(CES_MIDDLE + CES_SLOPE * felt + 0.5 * dice.normal("ces noise", key)), 1, 7
    )
    first = {
        **given,
        "order": order,
        "case": case,
        "metric": np.where(kind == RELATIONSHIP, NPS, np.where(is_case, CES, CSAT)),
        "score": np.where(kind == RELATIONSHIP, nps, np.where(is_case, ces, csat)),
        "question": np.ones(len(key), dtype=np.int64),
    }
    first["topic"] = _topics(world, orders, first)
    first["writes"] = dice.chance("writes", np.where(csat <= 2, 0.62, 0.36), key)
    second = take(first, is_case)
    second["metric"] = np.full(len(second["key"]), CSAT)
    second["score"] = csat[is_case]
    second["question"] = np.full(len(second["key"]), 2)
    second["writes"] = np.zeros(len(second["key"]), dtype=bool)
    answers = stack([first, second])
    return take(answers, np.lexsort((answers["question"], answers["key"], answers["answered_at"])))


def _mood(metric: Integers, score: Floats) -> Integers:
    """Return -1, 0 or 1 for a bad, a middling or a good score of each metric."""
    bad = np.array([6, 2, 3])[metric]
    good = np.array([9, 4, 5])[metric]
    return np.where(score <= bad, -1, np.where(score >= good, 1, 0))


def _topics(world: World, orders: Columns, answers: Columns) -> Integers:
    """Return what a text is about: the cause that moved the answer most, in its direction."""
    number = {name: position for position, name in enumerate(TOPICS)}
    mood = _mood(answers["metric"], answers["score"])
    order = answers["order"]
    has_order = order >= 0
    in_store = has_order & (orders["channel"][order] == STORE)
    employee = np.where(in_store, world.staff.effect[orders["employee"][order]], 0.0)
    queue = np.where(in_store, QUEUE_EFFECT_PER_MINUTE * orders["queue"][order], 0.0)
    quality = QUALITY_EFFECT * world.products.quality[orders["product"][order]] * has_order
    late = np.where(has_order & orders["is_late"][order], -2.0, 0.0)
    causes = np.stack([late, employee, queue, quality])
    worst, best = np.argmin(causes, axis=0), np.argmax(causes, axis=0)
    bad_topics = np.array(
        [number["late"], number["staff_bad"], number["queue"], number["product_bad"]]
    )
    good_topics = np.array(
        [number["generic_good"], number["staff_good"], number["generic_good"],
         number["product_good"]]
    )  # fmt: skip
    bad = np.where(causes.min(axis=0) < -0.3, bad_topics[worst], number["generic_bad"])
    good = np.where(causes.max(axis=0) > 0.25, good_topics[best], number["generic_good"])
    # Nobody praises the speed of a late parcel.
    punctual = has_order & ~in_store & ~orders["is_late"][order] & (causes.max(axis=0) <= 0.25)
    speed = np.where(orders["is_early"][order], number["early"], number["on_time"])
    good = np.where(punctual, speed, good)
    is_case = answers["case"] >= 0
    bad = np.where(is_case, number["effort_bad"], bad)
    good = np.where(is_case, number["effort_good"], good)
    return np.where(mood < 0, bad, np.where(mood > 0, good, number["generic_ok"]))


def make_reviews(world: World, people: People, purchases: Purchases) -> Columns:
    """Return product reviews, driven by the product's true quality."""
    dice, orders, lines = world.dice, purchases.orders, purchases.lines
    key, order = lines["key"], lines["order"]
    known: Flags = (orders["channel"] != STORE) | is_known_at_till(world, people, orders)
    quality = world.products.quality[lines["product"]]
    writes = dice.chance("reviews", 0.014 + 0.014 * (np.abs(quality) > 1), key)
    had = np.where(orders["channel"] == STORE, orders["placed_at"], orders["delivered_at"])[order]
    wait = ((1 + 20 * dice.uniform("review wait", key)) * DAY_SECONDS).astype(np.int64)
    at = np.where(had < NEVER, np.minimum(had, NEVER // 2) + wait, NEVER)
    rows = np.flatnonzero(writes & known[order] & (at >= world.begins) & (at < world.now))
    raw = (
        4.0
        + 0.7 * quality[rows]
        + 0.3 * people.trait[orders["row"][order[rows]]]
        + 0.6 * dice.normal("stars", key[rows])
    )
    stars = np.clip(np.round(raw), 1, 5)
    number = {name: position for position, name in enumerate(TOPICS)}
    topic = np.where(
        stars <= 2, number["product_bad"],
        np.where(stars >= 4, number["product_good"], number["generic_ok"]),
    )  # fmt: skip
    reviews = {
        "line": rows,
        "order": order[rows],
        "row": orders["row"][order[rows]],
        "key": key[rows],
        "at": at[rows],
        "stars": stars.astype(np.int64),
        "topic": topic,
        "writes": dice.chance("review text", 0.8, key[rows]),
        "number": dice.scramble("review number", key[rows], 37),
    }
    return take(reviews, np.lexsort((reviews["key"], reviews["at"])))
