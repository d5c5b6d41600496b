"""Drawing one token from logits. Knows no model; what decides is NumPy's, so every backend and batch draws alike.

The order: guidance, the rules of chat.py, bans, penalties, one float32 softmax; every filter masks from that
same softmax and the masks are combined (the likeliest token always stays); then temperature as a power,
renormalise, draw. The cut before the temperature is RWKV's convention: after it, other tokens survive, and
`temp_first` is for those who want them. Mirostat, if it is on, takes the place of all filters.

Chance is one uniform a draw, a pure function of (seed, position), inverted over the kept tokens in the order
(probability descending, id ascending). What has to be stored to draw again is (seed, position).

V vocabulary   p probabilities of the one softmax
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chatrwkv.engine import kernels
from chatrwkv.engine.chance import uniform
from chatrwkv.engine.filters import surviving, unsurprising, unsurprising_floor
from chatrwkv.engine.ranking import Head, Logits
from chatrwkv.engine.tokens.tokenizer import END
from chatrwkv.errors import NumericalError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

    from chatrwkv.engine.params import SamplingParams
    from chatrwkv.engine.ranking import Ranking
    from chatrwkv.engine.tokens.tokenizer import Tokenizer

    Floats = NDArray[np.floating[Any]]
    Ids = NDArray[np.intp]

N_TOP = 8  # candidates reported with each token
_WEIGHTLESS = " \t0123456789"
_LEAST = math.log(1e-38)  # stands for -inf where a token is weighed that could not be drawn
COLDEST = 1e-6  # less is 0 in float32 sooner or later, and 0 / 0 no number
_UNREPEATABLE = "，：？！"
_NONE = np.zeros(0, np.float32)
_NEVER = -1e9  # as chat.py has it: finite, so that a reply of nothing else is still possible


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids of a vocabulary that the rules are about."""

    end: int | None = END
    """Banned before `min_tokens`."""
    weightless: frozenset[int] = frozenset()
    """Their counts stay 0, see `weightless_ids`."""
    newline: int | None = None
    """The single line end of the newline schedule."""
    unrepeatable: frozenset[int] = frozenset()
    """Those of the anti-repeat rule."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Marks:
        """Those of a vocabulary; a rule without its token does nothing."""
        newline = tokenizer.encode("\n")
        signs = [tokenizer.encode(sign) for sign in _UNREPEATABLE]
        return cls(
            tokenizer.end_id,
            weightless_ids(tokenizer),
            newline[0] if len(newline) == 1 else None,
            frozenset(ids[0] for ids in signs if len(ids) == 1),
        )


@dataclass(frozen=True, slots=True)
class Picked:
    """A drawn token; log-probabilities are those of the one softmax, before any cut."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """The 8 likeliest as (id, logprob)."""
    mu: float | None = None
    """Mirostat's bound for the next token, in bits; None where mirostat is off."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done to the logits before the softmax, in this order."""

    newline_bias: float
    """Added to the logit of the marked line end; 0 changes nothing."""
    penalised: Ids
    penalties: NDArray[np.float32]
    """Subtracted from the logits of `penalised`."""
    banned: Ids


@dataclass(frozen=True, slots=True)
class Wish:
    """One draw, for who does it where the logits are."""

    params: SamplingParams
    rules: Rules
    newline: int | None
    chance: float
    floor: float
    """Mirostat's, see `filters.unsurprising_floor`; 0 where it is off."""
    forced: int | None
    """The token that comes next anyway."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer to a wish; as `Picked`."""

    id: int
    logprob: float
    kept: float
    """Probability of all tokens that survived the filters."""
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Draws the tokens of one reply and keeps what the next draw depends on.

    Args:
        params: the settings; without a seed a fresh one is drawn, see `seed`.
        n_vocab: V of the model.
        banned: ids that must never be drawn, beside those of `params`.
        marks: what the rules are about.
    """

    def __init__(
        self,
        params: SamplingParams,
        n_vocab: int,
        banned: Iterable[int] = (),
        marks: Marks = Marks(),
    ) -> None:
        self.params = params
        self._marks = marks
        self.last_id: int | None = None
        """The token before the next one, if it is known; that of the prompt before the first."""
        self.mu: float = 2 * params.mirostat
        """Mirostat's bound: how many bits of surprise are still let through."""
        # 32 bits: short enough to be read out and typed in again.
        self.seed = secrets.randbits(32) if params.seed is None else params.seed
        self.n_vocab = n_vocab
        barred = sorted(i for i in {*banned, *params.banned} if 0 <= i < n_vocab)
        self._banned = np.array(barred, dtype=np.intp)
        self._penalises = params.presence != 0 or params.frequency != 0
        library = kernels.library()
        # plain loops take ten times as long as NumPy
        self._room = Logits(n_vocab, Head(library) if library is not None and library.isa else None)
        self._slots: dict[int, int] = {}
        self._ids = np.zeros(64, dtype=np.intp)
        self._counts = np.zeros(64)

    def pick(self, logits: Tensor | Floats, position: int, beside: Tensor | Floats | None = None) -> Picked:
        """The token at `position` of the reply, counted from 0. Nothing that is given changes, nor self.

        Args:
            logits: (V,) of the mind that replies.
            position: decides, with the seed, which number is drawn.
            beside: (V,) of the mind that guidance leads away from.

        Raises:
            NumericalError: the logits hold NaN or +inf, or every token is banned.
        """
        params, chance = self.params, uniform(self.seed, position)
        ranking = self._ranking(logits, position, beside)
        if params.temperature == 0:
            token_id = int(ranking.ids[0])
        elif params.has_mirostat:
            token_id = _draw(ranking, unsurprising(ranking, self.mu), 1.0, chance)
        else:
            power = 1.0 if params.temp_first else 1 / params.temperature
            token_id = _draw(ranking, surviving(ranking, params), power, chance)
        return self._picked(ranking, token_id)

    def weigh(
        self, logits: Tensor | Floats, position: int, token_id: int, beside: Tensor | Floats | None = None
    ) -> Picked:
        """What `pick` would report if it had drawn `token_id`.

        Raises:
            NumericalError: as `pick`.
        """
        return self._picked(self._ranking(logits, position, beside), token_id)

    def wish(self, position: int, forced: int | None = None) -> Wish | None:
        """What `pick`, or `weigh` of a forced token, would do; None if it takes a look at the whole vocabulary."""
        params = self.params
        is_free = forced is None and params.temperature > 0 and not params.has_mirostat
        if is_free and params.typical < 1:
            return None
        return Wish(
            params,
            self._rules(position),
            self._marks.newline,
            uniform(self.seed, position),
            unsurprising_floor(self.mu) if params.has_mirostat else 0.0,
            forced,
        )

    def granted(self, answer: Granted) -> Picked:
        """The report of a draw that was done elsewhere."""
        return self._report(answer.id, answer.logprob, answer.kept, answer.top)

    def _picked(self, ranking: Ranking, token_id: int) -> Picked:
        kept = 1.0
        if self.params.has_mirostat:
            ranking.settle()
            kept = ranking.cum[unsurprising(ranking, self.mu) - 1] / ranking.total
        top = tuple((i, ranking.logprob(i)) for i in ranking.ids[:N_TOP].tolist())
        return self._report(token_id, ranking.logprob(token_id), kept, top)

    def _report(
        self, token_id: int, logprob: float, kept: float, top: tuple[tuple[int, float], ...]
    ) -> Picked:
        logprob, mu = max(logprob, _LEAST), None
        if self.params.has_mirostat:
            target, surprise = self.params.mirostat, math.log2(kept) - logprob / math.log(2)
            mu = min(self.mu - self.params.mirostat_rate * (surprise - target), 4 * target)
        return Picked(token_id, logprob, top, mu)

    def accept(self, token_id: int) -> None:
        """Note a token of the reply for the penalties of the next: all counts decay, then its own grows.

        As in the `rwkv` package: an entry never leaves, so the presence penalty stays in full.
        """
        self.last_id = token_id
        if not self._penalises:
            return
        n = len(self._slots)
        slot = self._slots.setdefault(token_id, n)
        if slot == len(self._ids):
            self._ids, self._counts = np.resize(self._ids, 2 * slot), np.resize(self._counts, 2 * slot)
        self._counts[:n] *= self.params.decay
        if slot == n:
            self._ids[slot], self._counts[slot] = token_id, 0.0
        self._counts[slot] += token_id not in self._marks.weightless

    def _ranking(self, logits: Tensor | Floats, position: int, beside: Tensor | Floats | None) -> Ranking:
        """Guidance, rules, bans, penalties; what is left is what the one softmax is of."""
        params, newline, x = self.params, self._marks.newline, self._room.x
        np.copyto(x, self._floats(logits))
        if beside is not None:
            x *= np.float32(params.cfg)
            x += np.float32(1 - params.cfg) * self._floats(beside)
        rules = self._rules(position)
        if rules.newline_bias and newline is not None:
            x[newline] += rules.newline_bias
        if len(rules.penalised):
            x[rules.penalised] -= rules.penalties
        x[rules.banned] = -math.inf
        if params.temp_first and params.temperature and math.isfinite(best := x.max()):
            x -= best  # so that a small temperature cannot overflow them
            x /= np.float32(max(params.temperature, COLDEST))
        return self._room.ranking()

    def _rules(self, position: int) -> Rules:
        params, marks, n = self.params, self._marks, len(self._slots)
        has_bias = params.newline_rule and marks.newline is not None
        penalties = (params.presence + self._counts[:n] * params.frequency).astype(np.float32) if n else _NONE
        barred = []
        if params.anti_repeat and self.last_id in marks.unrepeatable:
            barred.append(self.last_id)
        if position < params.min_tokens and marks.end is not None:
            barred.append(marks.end)
        return Rules(
            newline_bias(position) if has_bias else 0.0,
            self._ids[:n],
            penalties,
            np.append(self._banned, barred).astype(np.intp) if barred else self._banned,
        )

    def _floats(self, logits: Tensor | Floats) -> Floats:
        """As NumPy has them."""
        x = logits if isinstance(logits, np.ndarray) else logits.cpu().numpy()
        if x.shape != (self.n_vocab,):
            raise NumericalError(f"The model gave logits of the shape {x.shape}, not {(self.n_vocab,)}.")
        return x


def newline_bias(position: int) -> float:
    """What chat.py adds to the logit of a single line end at this place of the reply.

    Its schedule counts the tokens before: none of the first two, then rising to 0 at token 41, and from
    token 151 on up to 3, so that the reply comes to its end.
    """
    n_before = position - 1
    if n_before <= 0:
        return _NEVER
    if n_before <= 40:
        return (n_before - 40) / 10
    return min(3.0, max(0, n_before - 150) * 0.25)


def weightless_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens whose count is never raised: parts of "space tab 0123456789", so '12' but not '13'.

    The rule of the `rwkv` package's `generate`. Their presence penalty stays. Without it columns of numbers
    and indented code degenerate.
    """
    spans = {_WEIGHTLESS[a:b] for b in range(len(_WEIGHTLESS) + 1) for a in range(b)}
    encoded = (tokenizer.encode(span) for span in spans)
    return frozenset(ids[0] for ids in encoded if len(ids) == 1)


def _draw(ranking: Ranking, kept: Ids | int, power: float, chance: float) -> int:
    """The kept token at the place `chance` (in [0, 1)) of their cumulated weights w ** power."""
    if isinstance(kept, int) and kept > len(ranking.ids) and not ranking.is_complete:
        at = _place_of_all(ranking, power, chance)
        ids = ranking.ids  # which may be more now
    else:
        chosen = slice(kept) if isinstance(kept, int) else kept
        ids, w = ranking.ids[chosen], ranking.w[chosen]
        cum = np.cumsum(w if power == 1 else w**power)
        at = int(cum.searchsorted(chance * cum[-1], "right"))
    return int(ids[min(at, len(ids) - 1)])


def _place_of_all(ranking: Ranking, power: float, chance: float) -> int:
    """Where `chance` falls if no token is left out."""
    if power == 1:
        while (at := ranking.n_below(lambda total: chance * total, "right")) is None:
            ranking.extend()
        return at
    limit = chance * float((ranking.whole.astype(np.float64) ** power).sum())
    while (cum := np.cumsum(ranking.w**power))[-1] <= limit and not ranking.is_complete:
        ranking.extend()
    return int(cum.searchsorted(limit, "right"))
