"""What people want of the program and of the model, in every mix of verbs and nouns: the words carry the wish, not the frame."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from training.text import library
from training.text.paraphrase import REQUESTS, WAYS
from training.text.wording import pick, said, sentence, stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from training.text.library import Dialogue, Intent

HOW = (
    "how do I {v}? / how can I {v}? / how to {v} / {v} / {v} please / {v}, how? / which key do I press to {v}? / "
    "what key is there to {v}? / I want to {v} / I need to {v} / can I {v}? / is there a way to {v}? / I would like to {v} / "
    "please {v} / where can I {v}? / what if I want to {v}? / {v}! / what do I press to {v}? / which command do I need to {v}? / "
    "I wish to {v} / is it possible to {v} here? / somehow I must {v} / show me how I can {v} / let me {v} / "
    "I am looking for a way to {v}. / how does one {v}? / hey, how do I {v}? / ok, how do I {v}? / time to {v}"
)
GIVE = (
    "tell me {x} / give me {x} / I want {x} / {x} please / {x}! / could you tell me {x}? / do you know {x}? / {x}? / "
    "I would like to hear {x} / let me have {x} / can I have {x}? / may I hear {x}? / {x}, if you can / have you got {x}? / "
    "please tell me {x} / send me {x} / I need {x} / do you have {x}? / {x} would be good now / treat me to {x}"
)
APP = {
    "app_stop": (
        "stop / halt / end / interrupt / cut off / break off / cancel / abort / kill / silence / cut short",
        "the reply / this answer / the text / your writing / the output / your reply / what you write / the running answer",
    ),
    "app_regenerate": (
        "get / see / have / ask for / make / draw / generate / request",
        "another answer / a new reply / a different answer / a better reply / a second try / one more version / a fresh answer / an alternative",
    ),
    "app_siblings": (
        "see / read / go back to / compare / find / show / look at",
        "the other answers / the earlier answer / the first reply / the old version of the answer / the replies from before / both answers",
    ),
    "app_fork": (
        "fork / split / copy / branch / duplicate / clone",
        "this chat / the conversation / the talk / the chat from here / the chat at this message",
    ),
    "app_save_state": (
        "save / keep / store / preserve / secure / not lose",
        "this chat / the conversation / our talk / the state / everything / what we wrote / my work",
    ),
    "app_load_state": (
        "load / open / restore / bring in / use / read in",
        "a state / a saved state / my state file / the state from yesterday / an old state",
    ),
    "app_undo": (
        "undo / reverse / take back / revert / cancel",
        "the last change / what I did / my mistake / the last step / a wrong step / that change",
    ),
    "app_quit": (
        "quit / close / leave / exit / end / shut down / get out of",
        "the app / this program / chatrwkv / this window / this thing / everything here",
    ),
    "app_new_chat": (
        "start / open / begin / create / get / make",
        "a new chat / a fresh chat / an empty chat / another conversation / a new talk / a second chat",
    ),
    "app_chats": (
        "see / find / open / list / show / go back to / return to / get to",
        "my chats / my old chats / the earlier conversations / yesterday's chat / the list of chats / my past talks / a previous chat",
    ),
    "app_bigger_model": (
        "get / download / find / try / install / run / use / have / put in",
        "a bigger model / a larger model / a better model / a smarter model / a stronger model / something more clever / a more powerful model / a model that knows more",
    ),
    "app_switch_model": (
        "switch / change / choose / pick / swap / select / replace",
        "the model / models / which model answers / the model of this chat",
    ),
    "app_help_keys": (
        "see / find / learn / list / look up / show / read",
        "the keys / all commands / the shortcuts / the help / every key / the key bindings / the list of commands",
    ),
    "app_copy": (
        "copy / grab / take / get hold of / extract",
        "the reply / this text / your answer / the code / that message",
    ),
    "app_edit": (
        "edit / change / correct / fix / rewrite / improve",
        "my message / my question / what I wrote / an old message / my last line / a typo in my message",
    ),
    "app_tree": (
        "see / show / open / hide / look at",
        "the tree / the branches / all branches / the shape of the chat / the tree of messages",
    ),
    "app_find": (
        "find / search for / look for / locate",
        "a word / a message / something I wrote / an old sentence / some text in my chats",
    ),
    "app_export": (
        "export / share / print / hand on / write down as a file / send to a friend / turn into a document",
        "this chat / the conversation / our talk / what we wrote",
    ),
    "app_rename_delete": (
        "rename / delete / remove / throw away / give a name to / erase",
        "this chat / the chat / a chat / this conversation",
    ),
    "app_temperature": (
        "change / raise / lower / set / turn up / turn down",
        "the temperature / how random you are / how wild the answers are / the creativity",
    ),
    "app_system_prompt": (
        "set / write / change / add",
        "a system prompt / the system text / the rules for the chat / a role for the model",
    ),
    "app_continue": (
        "continue / finish / resume / go on with / complete",
        "a stopped reply / the cut answer / your last answer / the reply that ended early",
    ),
    "app_bookmark": (
        "bookmark / mark / name / flag",
        "a message / this place / this answer / a spot in the chat",
    ),
    "app_several_replies": (
        "get / see / make / draw / have",
        "several replies at once / many answers together / five replies at the same time / a few versions at once",
    ),
    "app_undelete": (
        "get back / restore / recover / bring back / undelete",
        "a deleted chat / the chat I deleted / my lost chat / a removed chat",
    ),
    "app_settings": (
        "open / see / find / change",
        "the settings / the options / the preferences / the sampling settings",
    ),
    "app_pipe": (
        "use / call / run",
        "chatrwkv in a script / chatrwkv in a pipe / the model from the shell / the app on the command line / it without the window",
    ),
    "app_send_newline": (
        "write / add / make / insert",
        "a new line / a line break / a second line / an empty line / a new paragraph",
    ),
    "app_tune": (
        "train / make / teach / tune",
        "a persona / a style / the model on my examples / my own persona",
    ),
    "app_think": (
        "switch on / switch off / use / turn on / turn off",
        "thinking / the thinking / the thoughts of the model / the thinking mode",
    ),
}
"""Intent: verbs and objects, any of which go together."""
GIFTS = {
    "joke": "a joke / something funny / a funny line / a pun / a good joke / a short joke / a silly joke / anything to laugh about",
    "story_any": "a story / a tale / a fairy tale / a bedtime story / a short story / a little tale / an adventure / a story with an animal",
    "riddle": "a riddle / a puzzle / a brain teaser / something to guess / a tricky question",
    "poem": "a poem / a rhyme / a verse / some poetry / a few lines that rhyme / a little poem",
    "fun_fact": "a fact / a fun fact / an interesting fact / something true and odd / some trivia / a curious fact",
    "quote": "a saying / a proverb / a wise word / a quote / some wisdom",
    "tongue_twister": "a tongue twister / a sentence that is hard to say / a twister for my tongue",
    "idea": "an idea / a suggestion / something to do / a plan for the day",
    "compliment_me": "a compliment / a kind word / something nice about me",
}


@cache
def _intents() -> dict[str, Intent]:
    return {intent.name: intent for _, found in library.intents() for intent in found}


def app(rng: Random) -> Dialogue:
    """A wish about the program."""
    name = rng.choice(list(APP))
    verbs, nouns = APP[name]
    wish = f"{pick(rng, verbs)} {pick(rng, nouns)}"
    ask = pick(rng, HOW if rng.random() < 0.6 else WAYS).format(v=wish)
    return said(sentence(ask), rng.choice(_intents()[name].answer))


def gift(rng: Random) -> Dialogue:
    """A wish for something to read."""
    name = rng.choice(list(GIFTS))
    ask = pick(rng, GIVE if rng.random() < 0.6 else REQUESTS).format(x=pick(rng, GIFTS[name]))
    return said(sentence(ask), rng.choice(_intents()[name].answer))


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` wishes with what answers them."""
    return stream(rng, n, ((5, app), (2, gift)))
