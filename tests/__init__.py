"""The tests; a package so that test modules can import what they share.

More than a dozen modules, since here stand the tests of the whole project and those of modules of the package that are
not in a folder either, beside what says how the tests run: `conftest`, `loops`, `processes`, `repeat`, `workers`.
"""
