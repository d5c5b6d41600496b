"""Names of many shapes, most of them seen once or never: to be given back, a name must be copied, not recalled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.text.wording import sentence, words

if TYPE_CHECKING:
    from random import Random

RARE = words(
    "Aoife Saoirse Niamh Eilidh Rhiannon Bronwyn Gwendolyn Isolde Perpetua Ottilie Thaddeus Bartholomew Ignatius Cornelius "
    "Leopold Casimir Zbigniew Wojciech Jadwiga Bogdan Milica Dragan Zoltan Katalin Istvan Piroska Aino Eero Jukka Pirkko "
    "Bjorn Sigrid Torsten Ragnhild Ingvar Solveig Knut Anneke Joost Maartje Wim Liesbeth Jurgen Waltraud Friedrich Adelheid "
    "Giacomo Ludovica Ottavio Fiorella Xavier Jordi Montserrat Iker Nerea Joao Conceicao Thiago Yara Oluwaseun Chinedu Ngozi "
    "Amara Kwame Abena Thandiwe Sipho Zanele Tariq Layla Mustafa Zainab Omid Shirin Parviz Golnaz Rajesh Priyanka Vikram "
    "Ananya Sanjay Lakshmi Nguyen Thuy Linh Somchai Malee Putri Bayu Hiroshi Sakura Kenji Ayumi Minjun Soyeon Xiaoming Lihua "
    "Anahi Itzel Cuauhtemoc Tupac Nayeli Keahi Leilani Moana Tane Aroha Kiri Bluebell Juniper Clementine Rosalind Cordelia "
    "Peregrine Barnaby Humphrey Mortimer Winifred Prudence Philippa Henrietta Araminta Cressida Lysander Evander Caspian "
    "Dashiell Huxley Maddox Jaxon Brayden Kaylee Makenna Skyler Zephyr River Sage Wren Lark Indigo Onyx Jupiter Storm "
    "Tobias Silas Enoch Ezekiel Jedidiah Tabitha Dorcas Keziah Hephzibah Zipporah Mehmet Aylin Cem Defne Emre Gulsen Yusra"
)
PLACES = words(
    "Trondheim Odense Uppsala Tampere Tartu Riga Kaunas Gdansk Wroclaw Brno Graz Linz Bern Lugano Ghent Utrecht Nantes Lille "
    "Bilbao Coimbra Bari Lecce Split Zadar Sofia Varna Tbilisi Baku Tashkent Almaty Karachi Lahore Pune Chennai Colombo Hanoi "
    "Cebu Osaka Nagoya Busan Perth Hobart Dunedin Suva Accra Lagos Dakar Tunis Kampala Harare Quito Cusco Salta Recife Bogota "
    "Merida Tucson Omaha Boise Fargo Halifax Calgary Galway Dundee Swansea Whitby Truro Mandalay Nairobi Timbuktu Tromso"
)
THINGS_LIKED = [
    "sushi",
    "noodles",
    "olives",
    "mushrooms",
    "curry",
    "falafel",
    "waffles",
    "lemonade",
    "hot chocolate",
    "popcorn",
    "salad",
    "mango",
    "ginger",
    "garlic",
    "sailing",
    "knitting",
    "pottery",
    "fencing",
    "judo",
    "karate",
    "yoga",
    "archery",
    "rowing",
    "climbing",
    "skating",
    "surfing",
    "fishing",
    "camping",
    "gardening",
    "drawing",
    "baking",
    "photography",
    "poetry",
    "opera",
    "jazz",
    "techno",
    "the violin",
    "the cello",
    "the drums",
    "the guitar",
    "crosswords",
    "card games",
    "comics",
    "old maps",
    "lighthouses",
    "castles",
    "museums",
    "bridges",
    "robots",
    "rockets",
    "volcanoes",
    "dinosaurs",
    "whales",
    "owls",
    "foxes",
    "hedgehogs",
    "snails",
    "bees",
    "beetles",
    "dragons",
    "fog",
    "thunderstorms",
    "the sea",
    "the desert",
    "the night",
    "Sundays",
    "long walks",
    "short books",
    "loud music",
    "silence",
    "purple socks",
    "green tea",
    "black coffee",
    "rye bread",
    "blue cheese",
    "strong tea",
    "detective stories",
    "steam trains",
    "paper boats",
]
_STARTS = words(
    "b br c ch d dr f fl g gl gr h j k kl kr l m n p pr qu r s sh sk st t th tr v w x y z zh mb ts kn wh sz"
)
_VOWELS = words("a e i o u a e i o u ai ea ee ie oo ou ia ae y")
_ENDS = words("n m r l s t k sh th x nd rt ck ll ng sk v z b dd")
_TAILS = words(
    "a o in ella ius us ette wyn son ric bert lyn mond dor ika ov ova sky ez ara iel as is el ta zi ko mi"
)


def syllable(rng: Random) -> str:
    """A beginning, a vowel, and at times an end."""
    return rng.choice(_STARTS) + rng.choice(_VOWELS) + (rng.choice(_ENDS) if rng.random() < 0.35 else "")


def made_up(rng: Random) -> str:
    """A name that nobody has: one to three syllables, at times with a hyphen or an apostrophe."""
    name = "".join(syllable(rng) for _ in range(rng.choice((1, 2, 2, 3))))
    if rng.random() < 0.4:
        name += rng.choice(_TAILS)
    name = sentence(name)
    if rng.random() < 0.04:
        return f"{name}-{sentence(syllable(rng))}"
    return f"O'{name}" if rng.random() < 0.02 else name


def drawn(rng: Random) -> str:
    """A rare or a made-up name."""
    return rng.choice(RARE) if rng.random() < 0.4 else made_up(rng)


def place(rng: Random) -> str:
    """A city that is not in the common list, or a village that is on no map."""
    if rng.random() < 0.6:
        return rng.choice(PLACES)
    return sentence(syllable(rng)) + rng.choice(
        words("ton ville burg ham stad field ford wick by grad pur mouth")
    )


def word(rng: Random) -> str:
    """A word without sense."""
    return "".join(syllable(rng) for _ in range(rng.choice((1, 2, 2))))
