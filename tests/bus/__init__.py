"""Tests of the public face: more than a dozen modules, one for each thing that a program does with a bus."""
