"""The command line: its parser, what each verb does, and a client of a server."""
