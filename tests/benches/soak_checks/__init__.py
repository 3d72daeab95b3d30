"""The checkers of the soak: each finds what it is for, and is quiet when all is well."""
