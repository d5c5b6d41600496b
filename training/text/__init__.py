"""Text written for the built-in model: files of intents and dialogues, and generators of systematic material."""
