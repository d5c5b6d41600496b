"""The commands that fit what is being typed, above the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from chatrwkv.tui.widgets.rows import LiveRows, Row, pad_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatrwkv.tui.commands import Offer


class SlashList(LiveRows):
    """Offers with a cursor; the prompt keeps the focus and passes the arrows on."""

    MOST = 10

    def show(self, offers: Sequence[Offer]) -> None:
        """List `offers`; none hides the list."""
        width = min(40, max((cell_len(offer.left) for offer in offers), default=0) + 2)
        self.set_rows(
            [
                Row(offer.text, ((pad_cells(offer.left, width), ""), (offer.help, "muted")))
                for offer in offers
            ],
            key=offers[0].text if offers else "",
        )
        height = min(self.MOST, len(offers)) or 1
        self.styles.height = height
        self.styles.offset = (0, -height)  # it lies over the page: nothing moves when it opens
        self.display = bool(offers)
