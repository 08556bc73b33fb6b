"""Makes the support-triage data set: short requests to a web shop, in English and German, and the team each is for.

`python examples/support_triage.py OUT_DIR` writes train.jsonl and gold.jsonl, the same bytes every time, and in
new-first.jsonl and new-later.jsonl what will be asked once the world has changed. Standard library only; touches
OUT_DIR and nothing else.

Some requests are hard on purpose: typos, no capitals, a second topic beside the main one, a topic that is ruled out.
A quarter of the gold set uses phrasings that do not occur in training at all.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SEED = 20250801
TRAIN, GOLD = 640, 240
NEWCOMERS = 240
LONGEST, NEW_LONGEST = 72, 150
# The prompt asks, the completion answers with a leading space: so both are cut into tokens as one text would be.
QUESTION = "{text}\nTeam:"

Row = dict[str, str]

SLOTS: dict[str, dict[str, list[str]]] = {
    "en": {
        "item": ["shoes", "boots", "headphones", "gloves", "speakers", "cushions", "trousers", "keyboards"],
        "day": ["Monday", "Tuesday", "Friday", "last week", "yesterday", "two weeks ago"],
        "sum": ["$19", "$42", "$89", "30 euros", "15 pounds"],
        "order": ["order 4711", "order 2093", "my last order", "my order"],
        "device": ["phone", "tablet", "laptop", "iPhone"],
    },
    "de": {
        "item": ["Schuhe", "Kopfhörer", "Stiefel", "Boxen", "Handschuhe", "Kissen"],
        "day": ["Montag", "Dienstag", "Freitag", "letzter Woche", "gestern", "zwei Wochen"],
        "sum": ["19 Euro", "42 Euro", "89 Euro", "30 Euro"],
        "order": ["Bestellung 4711", "Bestellung 2093", "meine Bestellung", "meine letzte Bestellung"],
        "device": ["Handy", "Tablet", "Laptop", "iPhone"],
    },
}

# Per team and language: plain phrasings. The last three of each are kept for the gold set.
PLAIN: dict[str, dict[str, list[str]]] = {
    "billing": {
        "en": [
            "I was charged twice for {order}",
            "There is a charge of {sum} I don't recognise",
            "Why did you take {sum} from my card?",
            "The amount on my invoice is wrong",
            "Please send me the invoice for {order}",
            "My card was billed {sum} too much",
            "I need a receipt for {order}",
            "You charged me {sum} for nothing",
            "The VAT on my bill looks wrong",
            "Can I pay by bank transfer instead?",
            "My payment was declined, why?",
            "Your bill says {sum}, the shop said less",
        ],
        "de": [
            "Mir wurden {sum} zu viel berechnet",
            "Ich habe eine falsche Rechnung bekommen",
            "Warum wurden {sum} abgebucht?",
            "Der Betrag wurde doppelt abgebucht",
            "Bitte schicken Sie mir die Rechnung",
            "Ich brauche einen Beleg über {sum}",
            "Auf der Rechnung fehlt die Steuernummer",
            "Diese Abbuchung über {sum} kenne ich nicht",
            "Kann ich per Überweisung zahlen?",
            "Meine Zahlung wurde abgelehnt, warum?",
            "Die Rechnung stimmt nicht, es waren {sum}",
            "Ihre Abbuchung von {sum} ist mir unklar",
        ],
    },
    "refund": {
        "en": [
            "When do I get my money back?",
            "I am still waiting for my refund of {sum}",
            "My refund has not arrived yet",
            "You promised to pay back {sum}",
            "Where is the refund for {order}?",
            "I returned the {item}, where is my money?",
            "Please refund {order}",
            "I want my {sum} back",
            "How long does a refund take?",
            "The refund for the {item} is missing",
            "No money back since {day}, what now?",
            "Has my reimbursement been sent?",
        ],
        "de": [
            "Wann bekomme ich mein Geld zurück?",
            "Ich warte noch auf die Erstattung von {sum}",
            "Meine Rückzahlung ist noch nicht da",
            "Sie wollten mir {sum} erstatten",
            "Wo bleibt meine Erstattung?",
            "Die {item} sind zurück, wo ist mein Geld?",
            "Bitte erstatten Sie mir {sum}",
            "Ich möchte meine {sum} zurück",
            "Wie lange dauert eine Erstattung?",
            "Die Gutschrift für die {item} fehlt",
            "Noch immer kein Geld zurück, was nun?",
            "Ist meine Rückerstattung schon raus?",
        ],
    },
    "delivery": {
        "en": [
            "Where is my parcel?",
            "My {item} should have been here {day}",
            "The tracking has not moved since {day}",
            "When will {order} arrive?",
            "My package is late",
            "The driver left my {item} in the rain",
            "It says delivered, but nothing is here",
            "How long does shipping take?",
            "Has {order} been shipped yet?",
            "The courier did not ring the bell",
            "Still no {item} at my door",
            "My shipment seems to be lost",
        ],
        "de": [
            "Wo ist mein Paket?",
            "Die {item} sollten längst hier sein",
            "Die Sendungsverfolgung steht seit {day}",
            "Wann kommt {order} an?",
            "Mein Paket ist verspätet",
            "Der Bote hat die {item} im Regen abgestellt",
            "Angeblich zugestellt, aber nichts ist da",
            "Wie lange dauert der Versand?",
            "Ist {order} schon verschickt?",
            "Der Paketbote hat nicht geklingelt",
            "Noch immer keine {item} angekommen",
            "Meine Sendung ist wohl verloren",
        ],
    },
    "return": {
        "en": [
            "How do I send the {item} back?",
            "I want to return the {item}",
            "The {item} do not fit, can I exchange them?",
            "I need a return label for {order}",
            "Can I swap the {item} for a larger size?",
            "The {item} arrived broken, please exchange",
            "Until when can I return {order}?",
            "Wrong colour, I would like to send it back",
            "Where do I drop off a return?",
            "I got the wrong {item}, please swap",
            "Is sending things back free of charge?",
            "I'd like to trade the {item} for blue ones",
        ],
        "de": [
            "Wie schicke ich die {item} zurück?",
            "Ich möchte die {item} zurückgeben",
            "Die {item} passen nicht, geht ein Umtausch?",
            "Ich brauche ein Rücksendeetikett",
            "Kann ich die {item} in Größe L tauschen?",
            "Die {item} kamen kaputt an, bitte umtauschen",
            "Bis wann kann ich etwas zurückschicken?",
            "Falsche Farbe, ich will sie zurücksenden",
            "Wo gebe ich eine Rücksendung ab?",
            "Ich habe falsche {item} bekommen, bitte tauschen",
            "Kostet das Zurückschicken etwas?",
            "Ich hätte die {item} lieber in Blau",
        ],
    },
    "login": {
        "en": [
            "I forgot my password",
            "I can't log in since {day}",
            "My account is locked",
            "The reset email never arrives",
            "It says wrong password, but it is right",
            "I don't get the code for signing in",
            "How do I change my password?",
            "I lost the {device} with my login codes",
            "Signing in on my {device} fails",
            "My username is not accepted",
            "I am shut out of my account",
            "The sign-in link has expired",
        ],
        "de": [
            "Ich habe mein Passwort vergessen",
            "Ich kann mich seit {day} nicht anmelden",
            "Mein Konto ist gesperrt",
            "Die Mail zum Zurücksetzen kommt nicht",
            "Angeblich falsches Passwort, es stimmt aber",
            "Ich bekomme keinen Code zum Anmelden",
            "Wie ändere ich mein Passwort?",
            "Mein {device} mit den Codes ist weg",
            "Die Anmeldung am {device} klappt nicht",
            "Mein Benutzername wird nicht erkannt",
            "Ich komme nicht mehr in mein Konto",
            "Der Link zum Einloggen ist abgelaufen",
        ],
    },
    "bug": {
        "en": [
            "The app crashes on my {device}",
            "The page stays blank",
            "I get error 500 at checkout",
            "The search shows nothing at all",
            "The app freezes when I open the cart",
            "Pictures of the {item} do not load",
            "The pay button does nothing",
            "Your website is down",
            "Since the update the app is broken",
            "The cart empties itself on my {device}",
            "The menu does not open any more",
            "Your site keeps showing an error message",
        ],
        "de": [
            "Die App stürzt auf dem {device} ab",
            "Die Seite bleibt weiß",
            "An der Kasse kommt Fehler 500",
            "Die Suche zeigt gar nichts an",
            "Die App friert im Warenkorb ein",
            "Die Bilder der {item} laden nicht",
            "Der Knopf zum Bezahlen reagiert nicht",
            "Ihre Webseite ist nicht erreichbar",
            "Seit dem Update geht die App nicht",
            "Der Warenkorb leert sich am {device}",
            "Das Menü lässt sich nicht öffnen",
            "Auf der Seite erscheint eine Fehlermeldung",
        ],
    },
    "cancel": {
        "en": [
            "Please cancel {order}",
            "I want to cancel my subscription",
            "How do I end my membership?",
            "Stop {order}, I bought it by mistake",
            "I no longer need the {item}, cancel it",
            "Cancel my plan at the end of the month",
            "Please don't renew my subscription",
            "Can I still cancel what I ordered {day}?",
            "I ordered the {item} twice, cancel one",
            "I'd like to quit the newsletter plan",
            "Please terminate my contract",
            "Call off {order}, I changed my mind",
        ],
        "de": [
            "Bitte stornieren Sie {order}",
            "Ich möchte mein Abo kündigen",
            "Wie beende ich meine Mitgliedschaft?",
            "Stoppen Sie {order}, das war ein Versehen",
            "Ich brauche die {item} nicht mehr, storniert das",
            "Kündigung zum Monatsende bitte",
            "Bitte mein Abo nicht verlängern",
            "Kann ich {order} noch stornieren?",
            "Ich habe zweimal bestellt, storniert eine",
            "Ich will aus dem Vertrag raus",
            "Hiermit kündige ich meinen Vertrag",
            "Nehmt {order} zurück, ich will sie nicht mehr",
        ],
    },
    "address": {
        "en": [
            "I have moved, please change my address",
            "Send {order} to my office instead",
            "My house number is wrong in my account",
            "How do I add a second address?",
            "Please ship the {item} to my neighbour",
            "The street name on {order} is wrong",
            "Can I change where {order} goes?",
            "My new postcode is 10115",
            "I typed the wrong city",
            "Please update my phone number",
            "I live somewhere else now",
            "Deliver {order} to a pick-up point instead",
        ],
        "de": [
            "Ich bin umgezogen, bitte Adresse ändern",
            "Schickt {order} bitte ins Büro",
            "Meine Hausnummer ist falsch gespeichert",
            "Wie füge ich eine zweite Adresse hinzu?",
            "Bitte die {item} an meinen Nachbarn senden",
            "Der Straßenname ist falsch geschrieben",
            "Kann ich den Lieferort noch ändern?",
            "Meine neue Postleitzahl ist 10115",
            "Ich habe die falsche Stadt angegeben",
            "Bitte meine Telefonnummer aktualisieren",
            "Ich wohne jetzt woanders",
            "Bitte {order} an eine Packstation",
        ],
    },
    "privacy": {
        "en": [
            "Please delete all my data",
            "What do you know about me?",
            "I want a copy of my personal data",
            "Did you sell my email address?",
            "Stop sending me advertising",
            "Take me off your mailing list",
            "Who can see my order history?",
            "I object to the use of my data",
            "Was my account part of the data leak?",
            "How do you protect my information?",
            "Erase everything you stored about me",
            "I withdraw my consent to marketing",
        ],
        "de": [
            "Bitte löschen Sie alle meine Daten",
            "Was wissen Sie über mich?",
            "Ich möchte eine Kopie meiner Daten",
            "Haben Sie meine Mailadresse verkauft?",
            "Schicken Sie mir keine Werbung mehr",
            "Nehmen Sie mich aus dem Verteiler",
            "Wer sieht, was ich bestellt habe?",
            "Ich widerspreche der Nutzung meiner Daten",
            "War mein Konto von dem Datenleck betroffen?",
            "Wie schützen Sie meine Angaben?",
            "Entfernen Sie alles, was über mich gespeichert ist",
            "Ich widerrufe meine Einwilligung zur Werbung",
        ],
    },
    "stock": {
        "en": [
            "When will the {item} be back in stock?",
            "Do you have the {item} in size 42?",
            "Are the {item} still available?",
            "Is there a black version of the {item}?",
            "The {item} are sold out, any date?",
            "Do you also sell batteries for it?",
            "Are there {item} for children?",
            "Can you tell me when {item} are in again?",
            "What are the {item} made of?",
            "Will the {item} go on sale soon?",
            "How many {item} are left?",
            "Are new {item} coming in this season?",
        ],
        "de": [
            "Wann sind die {item} wieder auf Lager?",
            "Gibt es die {item} in Größe 42?",
            "Sind die {item} noch verfügbar?",
            "Gibt es die {item} auch in Schwarz?",
            "Die {item} sind ausverkauft, wann wieder?",
            "Verkaufen Sie auch passende Batterien?",
            "Haben Sie {item} für Kinder?",
            "Wann gibt es wieder {item}?",
            "Woraus bestehen die {item}?",
            "Werden die {item} bald reduziert?",
            "Wie viele {item} sind noch da?",
            "Kommen diese Saison neue {item} rein?",
        ],
    },
}

# A second topic, or one that is ruled out; what is asked for is clear to a person. The last of each is for gold.
HARD: dict[str, dict[str, list[str]]] = {
    "billing": {
        "en": [
            "The {item} came, but I was charged twice",
            "Not a refund, I just need the invoice",
            "Delivered fine, but billed {sum} extra",
        ],
        "de": [
            "Die {item} sind da, aber doppelt abgebucht",
            "Keine Erstattung, nur die Rechnung bitte",
            "Alles da, aber {sum} zu viel berechnet",
        ],
    },
    "refund": {
        "en": [
            "I cancelled on {day}, where is my money?",
            "No exchange please, I want my {sum} back",
            "Parcel never came, pay me back",
        ],
        "de": [
            "Ich habe storniert, wo bleibt mein Geld?",
            "Kein Umtausch, ich will {sum} zurück",
            "Paket kam nie, bitte Geld zurück",
        ],
    },
    "delivery": {
        "en": [
            "I paid {sum}, but no parcel so far",
            "I don't want to cancel, just tell me when it comes",
            "Address is right, so where is my parcel?",
        ],
        "de": [
            "{sum} bezahlt, aber noch kein Paket",
            "Nicht stornieren, nur sagen, wann es kommt",
            "Adresse stimmt, wo bleibt mein Paket?",
        ],
    },
    "return": {
        "en": [
            "Delivery was quick, but the {item} must go back",
            "I don't want money, just another size",
            "Paid and delivered, but I must send it back",
        ],
        "de": [
            "Kam schnell, aber die {item} müssen zurück",
            "Kein Geld zurück, nur eine andere Größe",
            "Bezahlt und da, muss aber wieder zurück",
        ],
    },
    "login": {
        "en": [
            "I want to see my invoice but can't log in",
            "The app works, only my password doesn't",
            "To cancel I must sign in, and I can't",
        ],
        "de": [
            "Ich will die Rechnung sehen, Login geht nicht",
            "Die App läuft, nur mein Passwort geht nicht",
            "Zum Kündigen fehlt mir das Passwort",
        ],
    },
    "bug": {
        "en": [
            "Login works, but then the app crashes",
            "I tried to pay, but the page froze",
            "Tracking page shows only an error",
        ],
        "de": [
            "Anmelden geht, aber dann stürzt die App ab",
            "Beim Bezahlen friert die Seite ein",
            "Die Paketseite zeigt nur einen Fehler",
        ],
    },
    "cancel": {
        "en": [
            "It is late, so please cancel {order}",
            "I don't want to return it, just cancel it",
            "Before you ship the {item}: cancel please",
        ],
        "de": [
            "Dauert zu lange, bitte {order} stornieren",
            "Nicht zurücksenden, einfach stornieren",
            "Vor dem Versand bitte noch stornieren",
        ],
    },
    "address": {
        "en": [
            "Don't cancel {order}, just fix the address",
            "Before {order} ships: I have moved",
            "No delay, but the address must change",
        ],
        "de": [
            "Nicht stornieren, nur die Adresse ändern",
            "Vor dem Versand: ich bin umgezogen",
            "Kommt pünktlich, aber die Adresse ist alt",
        ],
    },
    "privacy": {
        "en": [
            "I don't just cancel, delete my data too",
            "Keep my plan, but stop the ads",
            "My order is fine, but forget my data",
        ],
        "de": [
            "Nicht nur kündigen, auch Daten löschen",
            "Abo behalten, aber keine Werbung mehr",
            "Bestellung gut, aber löscht meine Daten",
        ],
    },
    "stock": {
        "en": [
            "I returned mine, do you have it in red?",
            "No complaint, are there {item} in green?",
            "Before I order: are {item} in stock?",
        ],
        "de": [
            "Meine sind zurück, gibt es sie in Rot?",
            "Keine Beschwerde, gibt es {item} in Grün?",
            "Vor der Bestellung: sind {item} da?",
        ],
    },
}

# What nobody asked while the examples were collected: then the shop began to mend things. Who wants that says what is
# broken, and what they want: such requests are longer, too.
NEW_TEAM = "repair"
NEW: dict[str, tuple[list[str], list[str]]] = {
    "en": (
        [
            "The sole of my boots came off after one walk in the rain",
            "A seam of the {item} has come undone right where it matters",
            "The left cable of my {item} has a loose contact and crackles",
            "The screen of my {device} has a crack from one side to the other",
            "My {device} fell into the water and does not start any more",
            "The charger socket of my {device} wobbles and sparks a little",
            "The zip is stuck halfway and one of its teeth is missing",
            "Two keys stay down when I press them, there is coffee in it",
            "The hinge is bent, so that it closes neither way",
            "The lining of my {item} is torn from top to bottom",
        ],
        [
            "Can your workshop mend that, and what would it cost?",
            "Would somebody of yours have a look, please?",
            "Is it worth fixing, or is there no hope left?",
            "How long would a technician need for such a thing?",
            "May I bring it in this week so that you can fix it?",
            "Do you have the spare part, and who puts it in?",
        ],
    ),
    "de": (
        [
            "Die Sohle der Stiefel löst sich nach einem Gang im Regen",
            "Eine Naht der {item} ist aufgegangen, gerade wo man es sieht",
            "Das linke Kabel der {item} hat einen Wackelkontakt und knistert",
            "Das Display vom {device} hat einen Sprung quer über die Mitte",
            "Mein {device} ist ins Wasser gefallen und startet nicht mehr",
            "Die Ladebuchse vom {device} wackelt, und manchmal funkt es",
            "Der Reißverschluss klemmt auf halbem Weg, ein Zahn fehlt",
            "Zwei Tasten bleiben unten, wenn man sie drückt, da ist Kaffee drin",
            "Das Scharnier ist krumm und schließt auf keiner Seite",
            "Das Futter meiner {item} ist von oben bis unten gerissen",
        ],
        [
            "Kann eure Werkstatt das flicken, und was kostet es?",
            "Könnte sich das bitte jemand von euch ansehen?",
            "Lohnt es sich, das zu richten, oder ist es hoffnungslos?",
            "Wie lange braucht ein Techniker für so etwas?",
            "Darf ich es diese Woche zum Richten vorbeibringen?",
            "Habt ihr das Ersatzteil, und wer baut es ein?",
        ],
    ),
}

# What people put around it: none in half of the cases.
OPENERS = {
    "en": [
        "Hi! ",
        "Hello! ",
        "Help! ",
        "Me again. ",
        "Good morning. ",
        "Quick one: ",
        "I'm new here. ",
        "Sorry, but: ",
        "From Leeds: ",
        "Dear team, ",
        "Hey folks, ",
        "One thing: ",
    ],
    "de": [
        "Hallo! ",
        "Guten Tag! ",
        "Hilfe! ",
        "Ich nochmal. ",
        "Moin! ",
        "Kurze Frage: ",
        "Bin neu hier. ",
        "Sorry: ",
        "Aus Kiel: ",
        "Liebes Team, ",
        "Servus! ",
        "Eine Sache: ",
    ],
}
CLOSERS = {
    "en": [
        " Thanks",
        " Please help",
        " Any idea?",
        " It's urgent",
        " Cheers, Tom",
        " Regards, Ana",
        " Call me",
        " Odd!",
    ],
    "de": [" Danke", " Bitte um Hilfe", " Was tun?", " Es eilt", " Gruß, Jan", " LG Eva", " Rufen Sie an", " Seltsam!"],
}
# Texts that share this much of their pieces are copies in all but name, and teach or prove nothing.
TOO_ALIKE = 0.7


def normalised(text: str) -> str:
    """A text as it counts for being the same: whatever its case, punctuation and spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _misspelt(text: str, rng: random.Random) -> str:
    """Swap two neighbouring letters inside one longer word."""
    words = text.split(" ")
    long = [at for at, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long:
        return text
    at = rng.choice(long)
    cut = rng.randrange(1, len(words[at]) - 2)
    word = words[at]
    words[at] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    return " ".join(words)


def _dressed(phrasing: str, language: str, rng: random.Random) -> str:
    """A phrasing as somebody would have typed it."""
    text = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(SLOTS[language][slot[1]]), phrasing)
    opener, closer = (rng.choice(["", rng.choice(some[language])]) for some in (OPENERS, CLOSERS))
    if closer:
        text = text if text.endswith("?") else f"{text}."
    text = f"{opener}{text}{closer}"
    if rng.random() < 0.12:
        text = _misspelt(text, rng)
    if rng.random() < 0.2:
        text = text.lower().rstrip("?.")
    return text


def pieces(text: str) -> frozenset[str]:
    """Every five characters in a row of a text as `normalised` gives it."""
    text = normalised(text)
    return frozenset(text[at : at + 5] for at in range(max(1, len(text) - 4)))


def alike(one: frozenset[str], other: frozenset[str]) -> float:
    """The Jaccard index of two sets of pieces."""
    return len(one & other) / len(one | other)


def _made(
    team: str,
    language: str,
    phrasings: list[str],
    rng: random.Random,
    seen: list[frozenset[str]],
    *,
    longest: int = LONGEST,
) -> Iterator[Row]:
    """Rows of one team and language without end, each with a text that was not there before, nor one much like it."""
    while True:
        text = _dressed(rng.choice(phrasings), language, rng)
        found = pieces(text)
        if len(text) <= longest and all(alike(found, other) < TOO_ALIKE for other in seen):
            seen.append(found)
            yield {"prompt": QUESTION.format(text=text), "completion": f" {team}", "language": language}


def generate(seed: int = SEED) -> tuple[list[Row], list[Row]]:
    """The training set and the gold set, shuffled; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311
    seen: list[frozenset[str]] = []
    train: list[Row] = []
    gold: list[Row] = []
    parts = [(team, language) for team in PLAIN for language in ("en", "de")]
    for team, language in parts:
        plain, hard = PLAIN[team][language], HARD[team][language]
        known = plain[:-3] + hard[:-1]
        unseen = plain[-3:] + hard[-1:]
        count = GOLD // len(parts)
        fresh = _made(team, language, unseen, rng, seen)
        familiar = _made(team, language, known, rng, seen)
        gold += [next(fresh) for _ in range(count // 4)] + [next(familiar) for _ in range(count - count // 4)]
        train += [next(familiar) for _ in range(TRAIN // len(parts))]
    rng.shuffle(train)
    rng.shuffle(gold)
    return train, gold


def newcomers(seed: int = SEED) -> tuple[list[Row], list[Row]]:
    """A kind of request that neither set knows, in two halves that share no text: the one asked first, and later."""
    rng = random.Random(seed + 1)  # noqa: S311
    seen: list[frozenset[str]] = []
    rows: list[Row] = []
    for language, (broken, wishes) in NEW.items():
        phrasings = [f"{what}. {wish}" for what in broken for wish in wishes]
        made = _made(NEW_TEAM, language, phrasings, rng, seen, longest=NEW_LONGEST)
        rows += [next(made) for _ in range(NEWCOMERS // len(NEW))]
    rng.shuffle(rows)
    return rows[::2], rows[1::2]


def everything() -> dict[str, list[Row]]:
    """All sets by name, which is that of their file."""
    train, gold = generate()
    first, later = newcomers()
    return {"train": train, "gold": gold, "new-first": first, "new-later": later}


def write(folder: Path) -> dict[str, int]:
    """Write all files and return how many rows each has."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, rows in everything().items():
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        counts[name] = len(rows)
    return counts


def main(arguments: list[str]) -> int:
    """Write the files and say how many examples they hold."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python examples/support_triage.py OUT_DIR", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    for name, count in write(folder).items():
        print(f"{folder / name}.jsonl: {count} examples")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
