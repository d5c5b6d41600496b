"""Sub-commands of the command line, one a file; what is heavy is imported inside."""
