"""Says a turn in another build: indirect questions, requests, things named first, and what people put around them.

The rules know a little English word order, no meaning. Where none fits, the turn stays as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from training.text.wording import pick, sentence, words

if TYPE_CHECKING:
    from random import Random

INDIRECT = (
    "I wonder {c}. / I wonder if you could tell me {c}. / Do you happen to know {c}? / Could you tell me {c}? / "
    "Would you mind telling me {c}? / I'd like to know {c}. / I would love to know {c}. / Any idea {c}? / "
    "I was wondering {c}. / Tell me {c}, would you? / Can you explain {c}? / I keep forgetting {c}. / "
    "My teacher asked me {c}. / My daughter wants to know {c}. / I have no clue {c}. / Remind me {c}. / "
    "Somebody asked me {c}, and I did not know. / I need to know {c}. / Do you have any idea {c}? / "
    "I am curious {c}. / I never understood {c}. / I bet you know {c}. / Let me know {c}. / "
    "I'm not sure {c}. / Can you remind me {c}? / Maybe you can tell me {c}. / You surely know {c}. / "
    "I always wanted to know {c}. / I forgot {c}. / Could you let me know {c}, please? / I'd be glad to hear {c}. / "
    "I have been asking myself {c}. / What I want to know is {c}. / Please be so kind and tell me {c}. / "
    "Are you able to tell me {c}? / We were just talking about {c}. / Is it known {c}? / {c}, do you know? / "
    "{c}, that is my question. / {c}, can you tell me?"
)
NAMED_FIRST = (
    "{x}, what is that? / {x}: what is it? / {x} is what exactly? / So what exactly is {x}? / What would {x} be? / "
    "About {x}: what is it? / {x}, do you know it? / What, please, is {x}?"
)
BECAUSE = (
    "How come {s}? / What is the reason that {s}? / {s}. Why is that? / How is it that {s}? / {s}, but why? / "
    "Is there a reason why {s}? / I see that {s}. Why? / People say that {s}. Why is that so?"
)
WAYS = (
    "What do I do to {v}? / What must I do to {v}? / Is there a way to {v}? / I want to {v}, how? / I would like to {v}. / "
    "I'd like to {v}, please. / I am trying to {v}. / Help me {v}. / Show me how to {v}. / Tell me how to {v}. / "
    "I need to {v}. What do I do? / Can I {v} somehow? / Is it possible to {v}? / I don't know how to {v}. / "
    "What is the trick to {v}? / Any way to {v}? / How would one {v}? / I forgot how to {v}. / Explain how I {v}. / "
    "To {v}, what do I do? / I can't figure out how to {v}. / Am I able to {v}? / What is the best way to {v}? / "
    "If I want to {v}, what then? / Could you show me how to {v}? / Say I want to {v}. How does it work? / "
    "What should I do if I want to {v}? / Teach me to {v}. / I have to {v}. How? / Which way is there to {v}? / "
    "Do you know how to {v}? / Is there some way for me to {v}? / What would I do in order to {v}? / "
    "My wish is to {v}. How do I get there?"
)
REQUESTS = (
    "I could do with {x}. / How about {x}? / {x} would be nice. / Got {x} for me? / Let's hear {x}. / "
    "May I have {x}? / I feel like {x}. / Could you come up with {x}? / I need {x} right now. / "
    "Do you have {x} for me? / Can you think of {x}? / I'm in the mood for {x}. / What about {x}? / "
    "Would you have {x} for me? / Please let me hear {x}. / It is time for {x}. / I would enjoy {x}. / "
    "Could I get {x}? / Any chance of {x}? / I want {x}. / {x} for me, please. / Surprise me with {x}. / "
    "I'd love {x}. / {x} would cheer me up. / Come on, {x}! / Do me a favour: {x}."
)
FAVOURS = (
    "Would you {v}? / I want you to {v}. / I'd like you to {v}. / Would you be so kind and {v}? / Go ahead and {v}. / "
    "Any chance you could {v}? / Could I ask you to {v}? / You could {v}, maybe? / {v}, would you? / Just {v}. / "
    "Will you {v}? / I need you to {v}. / Do you think you could {v}? / Do me a favour and {v}. / Be nice and {v}."
)
YES_NO = (
    "I wonder if {s}. / Is it true that {s}? / I'd like to know whether {s}. / Would you say that {s}? / {s}, right? / "
    "Somebody told me that {s}. Is that so? / {s}, is that correct? / I heard that {s}. / Do you think that {s}? / "
    "So {s}? / Could it be that {s}? / Tell me whether {s}. / I ask myself whether {s}. / Can you say whether {s}?"
)
STATES = (
    "Honestly, {s}. / To tell the truth, {s}. / You know, {s}. / I must say that {s}. / {s}, you know. / "
    "I have to tell you: {s}. / Well, {s} today. / {s}, to be honest. / Guess what, {s}. / I think {s}. / Right now {s}."
)
AROUND = (
    "Got a sec? {q} / Quick one: {q} / {q} Asking for a friend. / Something I always wanted to know: {q} / Hello! {q} / "
    "Hi there, {q} / Excuse me, {q} / Sorry to bother you. {q} / {q} I need it for school. / {q} Just curious. / "
    "{q} Thanks in advance. / {q} I can't remember. / Seriously, {q} / Silly question, but {q} / "
    "My little brother wants to know: {q} / Before I forget: {q} / {q} Do you know? / If you don't mind, {q} / "
    "Here is one for you. {q} / Not sure if you know this, but {q} / Next question. {q} / Something else: {q} / "
    "You there, {q} / Hey you, {q} / I've got a question. {q} / {q} Be honest. / {q} No idea, myself. / "
    "Change of subject: {q} / Let me try you: {q} / {q} I really want to know. / Good day! {q} / Dear bot, {q} / "
    "{q} Please be quick. / {q} My friend says you know. / Ok so {q} / um, {q} / {q} If it is not too much trouble."
)
BESIDE_THE_POINT = (
    "I am on the sofa. {q} / I just had lunch. {q} / The sun is shining here. {q} / My cat sits on the keyboard. {q} / "
    "It is late, but {q} / We are on a long drive. {q} / I read a book about this. {q} / My friends and I made a bet. {q} / "
    "I am making a quiz. {q} / The children are asleep. {q} / I have a test tomorrow. {q} / I had a strange dream. {q} / "
    "I saw something on the street today. {q} / My tea is getting cold. {q} / I woke up with this in my head: {q} / "
    "You are small, but maybe you know: {q} / They say you are clever. {q} / I asked my brother and he laughed. {q} / "
    "I have five minutes. {q} / My head is empty today. {q} / This may be easy, but {q} / I do not want to look it up. {q} / "
    "No long talk, just this: {q} / I am new to this. {q} / I looked everywhere. {q} / Nobody could tell me so far. {q} / "
    "My grandmother is here and asks: {q} / The radio is on, and I thought: {q} / It came up at dinner. {q} / {q} It came up at work. / "
    "{q} We argue about it at home. / {q} I should know that, I guess. / {q} It has been on my mind all day. / "
    "{q} I want to impress somebody. / {q} A short answer is enough. / {q} I will write it down. / {q} It is for a crossword. / "
    "A thing I always mix up: {q} / What I came here for: {q} / Right, {q} / Hm, now then, {q} / {q} That would help me."
)
_HANDS_OFF = re.compile(
    r"^(say|repeat|echo|write|sort|type|spell|please say|can you say|my list)\b|[:\"]", re.IGNORECASE
)
_DETERMINERS = frozenset(words("the a an my your his her our their this that these those every"))
_ADJECTIVES = frozenset(
    words(
        "small young baby little large big new old other full longest largest smallest next last right whole"
    ),
)
_NO_SUBJECT = frozenset(
    words("in on at of inside left better more less it this that these those up wrong new going made")
)
_WH = re.compile(
    r"(?P<wh>(?:what|which|how many|how much)(?: [a-z]+)?|what|why|how|where|when|who) "
    r"(?P<aux>does|do|did|is|are|was|can|could|should|will|has) (?P<rest>.+)",
    re.IGNORECASE,
)
_SHORT_FORMS = (
    ("what's ", "what is "),
    ("where's ", "where is "),
    ("who's ", "who is "),
    ("how's ", "how is "),
)


def third_person(verb: str) -> str:
    """The form of a verb after he, she or it."""
    if verb in {"have", "be"}:
        return {"have": "has", "be": "is"}[verb]
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def split_subject(rest: str) -> tuple[str, str]:
    """The subject at the start of the words after an auxiliary, and what follows it."""
    parts = rest.split()
    n = 1
    if parts[0].lower() in _DETERMINERS:
        n = 3 if len(parts) > 2 and parts[1] in _ADJECTIVES else 2
    return " ".join(parts[:n]), " ".join(parts[n:])


def stated(wh: str, aux: str, rest: str) -> str | None:
    """The words of a question in the order of a statement, without the question word; None where unsure."""
    if rest.split(maxsplit=1)[0].lower() in _NO_SUBJECT or re.search(
        r",| if | when | than | (?:for|of|like)$", rest
    ):
        return None
    if aux == "do":
        return rest
    if aux in {"is", "are", "was"} and not wh.startswith(("why", "how", "when")):
        return f"{rest} {aux}"
    subject, after = split_subject(rest)
    if aux == "does":
        if not after or rest[0].isdigit() or " key " in f"{rest} ":
            return None
        verb, _, more = after.partition(" ")
        return f"{subject} {third_person(verb)} {more}".strip()
    return f"{subject} {aux} {after}".strip()


def indirect(question: str) -> str | None:
    """The question as a clause, "what a volcano is", or None where the rules do not know it."""
    bare = _bare(question)
    found = _WH.fullmatch(bare)
    if found is None:
        # the question word is the subject: the order stays
        return bare if re.match(r"(who|which|what) [a-z]+ (?!you |i |we )", bare) else None
    wh, aux, rest = found["wh"], found["aux"], found["rest"]
    if wh.startswith(("what ", "which ", "how m")) and (
        aux in {"is", "are", "was", "has"} and not rest.startswith("there")
    ):
        return bare if aux != "has" and not wh.startswith("how much") else None
    if wh == "how" and aux in {"do", "can", "should"} and rest.startswith("I "):
        return f"how to {rest[2:]}"
    clause = stated(wh, aux, rest)
    return None if clause is None else f"{wh} {clause}"


def rephrased(text: str, rng: Random) -> str:
    """The turn in another build, or as it is where no rule fits."""
    if _HANDS_OFF.search(text) or len(text.split()) > 14 or re.search(r"[.?!]\s", text):
        return text
    rules = [*_RULES, _around, _around] if text.endswith("?") else _RULES
    for rule in rng.sample(rules, len(rules)):
        other = rule(text, rng)
        if other:
            return sentence(re.sub(r"\bi\b(?!')", "I", other))
    return text


def _bare(text: str) -> str:
    bare = text.rstrip(".!? ")
    if not re.match(r"I\b", bare):
        bare = bare[:1].lower() + bare[1:]
    for short, full in _SHORT_FORMS:
        if bare.startswith(short):
            bare = full + bare[len(short) :]
    return bare


def _around(text: str, rng: Random) -> str:
    frame = pick(rng, AROUND if rng.random() < 0.5 else BESIDE_THE_POINT)
    if not frame.startswith("{q}") and frame[frame.index("{q}") - 2] not in ".!?":
        text = text if text.startswith("I ") else text[:1].lower() + text[1:]
    return frame.format(q=text)


def _indirectly(text: str, rng: Random) -> str | None:
    clause = indirect(text) if text.endswith("?") else None
    return None if clause is None else pick(rng, INDIRECT).format(c=clause)


def _named_first(text: str, rng: Random) -> str | None:
    found = re.fullmatch(r"what (?:is|are) (.+)", _bare(text))
    if found is None or found[1].split()[0] in _NO_SUBJECT or len(found[1].split()) > 5:
        return None
    frames = (
        NAMED_FIRST
        if _bare(text).startswith("what is")
        else "{x}, what are they? / About {x}: what are they?"
    )
    return pick(rng, frames).format(x=found[1])


def _because(text: str, rng: Random) -> str | None:
    found = re.fullmatch(r"why (does|do|is|are|can) (.+)", _bare(text))
    if found is None or found[2].split()[0] in {"you", "there", "it", "not"}:
        return None
    clause = stated("why", found[1], found[2])
    return None if clause is None else pick(rng, BECAUSE).format(s=clause)


def _ways(text: str, rng: Random) -> str | None:
    found = re.fullmatch(r"how (?:do I|can I|to|should I) (.+)", _bare(text))
    return None if found is None else pick(rng, WAYS).format(v=found[1])


def _request(text: str, rng: Random) -> str | None:
    found = re.fullmatch(r"(?:please )?(?:tell|give) me ((?:a|an|another|some) .+)", _bare(text))
    return None if found is None else pick(rng, REQUESTS).format(x=found[1])


def _favour(text: str, rng: Random) -> str | None:
    verbs = "tell|explain|translate|write|give|show|count|describe|name|make|find|add|work|let|open|draw"
    found = re.fullmatch(rf"(?:please|(?:can|could) you) ((?:{verbs}) .+)", _bare(text))
    return None if found is None else pick(rng, FAVOURS).format(v=found[1])


def _yes_no(text: str, rng: Random) -> str | None:
    found = re.fullmatch(r"(do|are) you (.+)", _bare(text))
    if found is None or not text.endswith("?") or re.match(r"(know|have a|have any|want|happen)\b", found[2]):
        return None
    return pick(rng, YES_NO).format(s=f"you {'are ' if found[1] == 'are' else ''}{found[2]}")


def _state(text: str, rng: Random) -> str | None:
    found = re.fullmatch(r"(?:I am|I'm|I feel) [a-z ]+", _bare(text))
    return None if found is None else pick(rng, STATES).format(s=_bare(text))


_RULES = (_indirectly, _indirectly, _named_first, _because, _ways, _ways, _request, _favour, _yes_no, _state)

_SHORT = {
    "you": "u", "are": "r", "your": "ur", "please": "pls", "what is": "whats", "i am": "im", "do not": "dont",
    "because": "cuz", "thanks": "thx", "cannot": "cant", "going to": "gonna", "want to": "wanna",
    "what are": "what r", "know": "kno", "okay": "ok", "people": "ppl", "though": "tho", "how are you": "how r u",
}  # fmt: skip
_SLIPPERY = frozenset(
    words(
        "what which where when does tell please could would explain know about have make story joke name capital opposite "
        "because help thanks hello morning doing many there really want need save chat model reply answer stop press "
        "bigger question something again another people after before color colour animal between together mean means called "
        "think should they this that with from your their wonder again short little happy language remember favourite"
    )
)


def typed_fast(text: str, rng: Random) -> str:
    """The turn as someone in a hurry types it: chat spellings, slips in common words, no capitals, other marks."""
    lowered = text.lower()
    if rng.random() < 0.5:
        for full, short in _SHORT.items():
            if rng.random() < 0.5:
                lowered = re.sub(rf"\b{full}\b", short, lowered)
    lowered = " ".join(_slip(word, rng) for word in lowered.split(" "))
    dice = rng.random()
    if dice < 0.6:
        lowered = lowered.rstrip("?.!")
    elif dice < 0.75 and not lowered.endswith("."):
        lowered += rng.choice(("??", "!", "...", "?!", "!!"))
    return lowered or text


def _slip(word: str, rng: Random) -> str:
    if word not in _SLIPPERY or rng.random() > 0.2:
        return word
    at = rng.randrange(len(word) - 1)
    kind = rng.random()
    if kind < 0.4:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.75:
        return word[: at + 1] + word[at + 2 :]
    return word[: at + 1] + word[at:]
