"""Fuzzing of what Python parses: one function for each parser of bytes that others choose (H48).

A target takes any bytes and raises when a rule is broken. It is an ordinary function: `test_corpus.py` runs the corpus
through it in a plain pytest, and `fuzzer.py` puts atheris around it, only when `make fuzz` asks for that. Like those of
Rust (`rust/fuzz`), targets ask for more than "nothing raises": what was read and written again must be the same, a
stream cut anywhere must say the same, and an answer must agree with one that is found in a slower way.

`files.py` has the targets of files and directives, `client.py` those of the client port, `peers.py` those of what other
nodes send; `table.py` names all of them.
"""
