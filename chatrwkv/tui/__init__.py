"""The Textual front end: screens and widgets over `chatrwkv.chat`; it names neither torch nor sqlite."""
