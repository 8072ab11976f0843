"""Common given and family names, towns and streets per country, from public name statistics.

Persons are combinations of them; e-mail addresses stand under the reserved domains of RFC 2606
and phone numbers in ranges that the numbering plans have not given out.
Keeps out: who gets which name.
"""

from typing import NamedTuple


class Country(NamedTuple):
    """One country of the demo company."""

    code: str
    currency: str
    language: str
    time_zone: str
    weight: float
    """Share of the customers."""
    price_factor: float
    """Price in local currency of goods that cost 1 krone in Denmark."""
    vat: float
    calling_code: str
    trunk: str
    """Digit dialled before a national number."""
    unassigned_prefix: str
    """First digits of national numbers that nobody has."""
    number_length: int
    """Digits after that prefix."""
    delivery_days: int


COUNTRIES = (
    Country("DK", "DKK", "da", "Europe/Copenhagen", 0.44, 1.0, 0.25, "45", "", "1", 7, 2),
    Country("NO", "NOK", "no", "Europe/Oslo", 0.15, 1.55, 0.25, "47", "", "1", 7, 4),
    Country("SE", "SEK", "sv", "Europe/Stockholm", 0.16, 1.5, 0.25, "46", "0", "71", 7, 3),
    Country("DE", "EUR", "de", "Europe/Berlin", 0.15, 0.134, 0.19, "49", "0", "10", 9, 3),
    Country("GB", "GBP", "en", "Europe/London", 0.10, 0.114, 0.20, "44", "0", "600", 7, 4),
)

EMAIL_DOMAINS = (
    "example.com",
    "example.org",
    "example.net",
    "mail.example.com",
    "post.example.net",
    "home.example.org",
)

FEMALE = {
    "DK": "Anne Kirsten Mette Hanne Helle Anna Susanne Lene Maria Marianne Camilla Louise Pia "
    "Charlotte Ida Emma Freja Sofie Karla Josefine",
    "NO": "Anne Inger Kari Marit Ingrid Liv Eva Maria Berit Astrid Hilde Silje Marte Nora Solveig "
    "Ragnhild Tone Camilla Thea Sigrid",
    "SE": "Anna Eva Maria Karin Kristina Lena Sara Kerstin Emma Ingrid Malin Jenny Hanna Annika "
    "Elin Linnea Alva Saga Wilma Ebba",
    "DE": "Ursula Sabine Monika Petra Andrea Claudia Susanne Karin Stefanie Nicole Julia Katrin "
    "Anja Heike Lea Hannah Mia Greta Frieda Johanna",
    "GB": "Margaret Susan Sarah Karen Julie Emma Laura Rebecca Charlotte Amy Olivia Amelia Isla "
    "Grace Freya Florence Alice Poppy Evelyn Harriet",
}

MALE = {
    "DK": "Peter Michael Lars Jens Thomas Henrik Søren Christian Martin Jan Morten Jesper Niels "
    "Anders Mads Rasmus Mikkel Frederik Oscar Viggo",
    "NO": "Jan Per Bjørn Ole Lars Kjell Knut Svein Arne Thomas Hans Geir Tor Morten Magnus Håkon "
    "Sander Jakob Emil Sindre",
    "SE": "Lars Mikael Anders Johan Erik Per Karl Peter Thomas Jan Daniel Fredrik Hans Andreas "
    "Björn Gustav Oskar Axel Hugo Nils",
    "DE": "Peter Michael Thomas Andreas Wolfgang Klaus Jürgen Günter Stefan Christian Uwe Werner "
    "Frank Matthias Jonas Felix Paul Lukas Emil Moritz",
    "GB": "David John Paul James Andrew Mark Stephen Robert Richard Christopher Daniel Matthew "
    "Oliver George Harry Jack Noah Alfie Henry Edward",
}

FAMILY = {
    "DK": "Nielsen Jensen Hansen Andersen Pedersen Christensen Larsen Sørensen Rasmussen Jørgensen "
    "Petersen Madsen Kristensen Olsen Thomsen Christiansen Poulsen Johansen Møller Mortensen "
    "Knudsen Jakobsen Mikkelsen Olesen Frederiksen Laursen Henriksen Lund Schmidt Eriksen Holm "
    "Kristiansen Clausen Simonsen Svendsen Andreasen Iversen Jeppesen Vestergaard Bertelsen",
    "NO": "Hansen Johansen Olsen Larsen Andersen Pedersen Nilsen Kristiansen Jensen Karlsen "
    "Johnsen Pettersen Eriksen Berg Haugen Hagen Johannessen Andreassen Jacobsen Dahl Halvorsen "
    "Henriksen Lund Sørensen Jakobsen Moen Gundersen Iversen Strand Solberg Svendsen Eide "
    "Knutsen Martinsen Paulsen Bakken Kristoffersen Mathisen Lie Amundsen",
    "SE": "Andersson Johansson Karlsson Nilsson Eriksson Larsson Olsson Persson Svensson "
    "Gustafsson Pettersson Jonsson Jansson Hansson Bengtsson Jönsson Lindberg Jakobsson "
    "Magnusson Olofsson Lindström Lindqvist Lindgren Axelsson Berg Bergström Lundberg Lind "
    "Lundgren Lundqvist Mattsson Berglund Fredriksson Sandberg Henriksson Forsberg Sjöberg "
    "Wallin Engström Eklund",
    "DE": "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch "
    "Bauer Richter Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann "
    "Lange Schmitt Werner Schmitz Krause Meier Lehmann Schmid Schulze Maier Köhler Herrmann "
    "König Walter Mayer Huber",
    "GB": "Smith Jones Taylor Williams Brown Davies Evans Wilson Thomas Roberts Johnson Lewis "
    "Walker Robinson Wood Thompson White Watson Jackson Wright Green Harris Cooper King Lee "
    "Martin Clarke James Morgan Hughes Edwards Hill Moore Clark Harrison Scott Young Morris Hall "
    "Ward",
}

TOWNS = {
    "DK": (("Roskilde", 4000), ("Vejle", 7100), ("Esbjerg", 6700), ("Randers", 8900)),
    "NO": (("Trondheim", 7010), ("Stavanger", 4006), ("Drammen", 3015), ("Fredrikstad", 1606)),
    "SE": (("Uppsala", 75310), ("Västerås", 72210), ("Lund", 22220), ("Borås", 50330)),
    "DE": (("Bremen", 28195), ("Hannover", 30159), ("Potsdam", 14467), ("Kiel", 24103)),
    "GB": (("Leeds", 1), ("Oxford", 2), ("Bristol", 3), ("York", 4)),
}
"""Towns without a store and where their postal codes begin."""

BRITISH_DISTRICTS = {1: "LS1", 2: "OX1", 3: "BS1", 4: "YO1", 11: "EC1", 12: "M1"}
"""Postal districts by the number that a British town or store has instead of a code."""

STREETS = {
    "DK": "Skolevej|Kirkevej|Østergade|Møllevej|Strandvejen|Engvej|Birkevej|Parkvej",
    "NO": "Skoleveien|Kirkeveien|Storgata|Parkveien|Bjørkeveien|Fjellveien|Strandgata|Solveien",
    "SE": "Skolgatan|Kyrkogatan|Storgatan|Parkvägen|Björkvägen|Ängsvägen|Strandvägen|Kvarngatan",
    "DE": "Schulstraße|Hauptstraße|Gartenstraße|Bahnhofstraße|Lindenweg|Bergstraße|Waldweg|Ringweg",
    "GB": "High Street|Station Road|Church Lane|Park Road|Mill Lane|Victoria Road|Green Lane|Grove",
}

_PLAIN = str.maketrans(
    {"æ": "ae", "ø": "oe", "å": "aa", "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e"}
)


def plain(name: str) -> str:
    """Return a name in the letters of an e-mail address."""
    return name.lower().translate(_PLAIN)
