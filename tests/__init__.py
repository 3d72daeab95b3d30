"""The tests; a package so that test modules can import what they share. What stands here and not in a folder is of the
whole project, of a module that is no folder either, or says how they run: `conftest`, `processes`, `repeat`, `workers`.
"""
