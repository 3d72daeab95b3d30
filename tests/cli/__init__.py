"""The subcommands that have a screen of their own."""
