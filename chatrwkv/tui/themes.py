"""The two themes of the house; every theme of Textual works as well.

One accent marks what is alive. Everything else is text and two greys, so `primary` and `secondary` are quiet.
"""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="chatrwkv-dark",
    primary="#7fb8a4",
    secondary="#8c96a3",
    accent="#7fb8a4",
    foreground="#d6dae0",
    background="#15171a",
    surface="#1b1e22",
    panel="#22262b",
    warning="#d9b26f",
    error="#d98080",
    success="#7fb8a4",
    dark=True,
    variables={
        "block-cursor-background": "#2b3a37",
        "block-cursor-foreground": "#e6eae8",
        "block-cursor-text-style": "bold",
        "input-selection-background": "#7fb8a4 30%",
        "scrollbar": "#2c3137",
        "scrollbar-hover": "#3a4149",
        "scrollbar-active": "#7fb8a4",
        "scrollbar-background": "#15171a",
        "scrollbar-background-hover": "#15171a",
        "scrollbar-background-active": "#15171a",
        "scrollbar-corner-color": "#15171a",
        "footer-background": "#15171a",
    },
)

LIGHT = Theme(
    name="chatrwkv-light",
    primary="#1f6f5c",
    secondary="#5d6670",
    accent="#1f6f5c",
    foreground="#23272c",
    background="#fafaf7",
    surface="#f1f1ec",
    panel="#e8e8e2",
    warning="#8a5a00",
    error="#a33636",
    success="#1f6f5c",
    dark=False,
    variables={
        "block-cursor-background": "#d3e5df",
        "block-cursor-foreground": "#12211c",
        "block-cursor-text-style": "bold",
        "input-selection-background": "#1f6f5c 25%",
        "scrollbar": "#d5d5cd",
        "scrollbar-hover": "#bdbdb4",
        "scrollbar-active": "#1f6f5c",
        "scrollbar-background": "#fafaf7",
        "scrollbar-background-hover": "#fafaf7",
        "scrollbar-background-active": "#fafaf7",
        "scrollbar-corner-color": "#fafaf7",
        "footer-background": "#fafaf7",
    },
)

THEMES = (DARK, LIGHT)
