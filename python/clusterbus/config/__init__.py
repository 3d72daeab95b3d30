"""Configuration: valkey.conf's directives as one table, and `Config`, which holds their values.

Its files in reading order:

    directive         `Directive`: the type of a row of the table
    directives        the table: one row for each directive
    guard_directives  its rows that say who may join
    without_effect    its rows for directives that are known and do nothing here
    typed             `Directives`: the table as types for checkers and editors, made by a script
    statements        lines that are no directives: rename-command, user, loadmodule
    kinds             the kinds of values: how text is parsed, checked and shown
    several_kinds     the kinds of values of several words
    guard_kinds       the kinds of values that say who may join
    syntax            valkey.conf and the command line, split into lines of words
    config            `Config`: the values, and changes that are checked first
    rewrite           CONFIG REWRITE
    tls_ciphers       which cipher suites the lists of OpenSSL allow
    tls_settings      what the TLS directives say, and the files that they name
    tls_contexts      the TLS rules of connections that Python makes
    log_levels        the levels of the log by name and by number
    listening         the places that a node listens on, and how they move
    address           addresses to listen on, and `ip:port` as text

These are more than a dozen, because a table, its kinds, its files and what is made of it are a subject each.

Imports nothing of the package but `errors` and numbers of the wire. A `Config` belongs to the main thread, which may
read it anywhere and changes it only through its methods.
"""

from clusterbus.config.address import BindAddress, address_text
from clusterbus.config.config import Config
from clusterbus.config.directive import Directive
from clusterbus.config.directives import BY_NAME, DIRECTIVES, WITH_EFFECT

__all__ = ["BY_NAME", "DIRECTIVES", "WITH_EFFECT", "BindAddress", "Config", "Directive", "address_text"]
