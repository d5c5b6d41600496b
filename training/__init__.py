"""How the built-in model was made; not installed with the application."""
