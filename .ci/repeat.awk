# Reads the output of `cargo test` and prints, for each failed test, the command that repeats it. A test with a random
# seed has printed such a command itself; none is added for it. `prefix` is what comes before the test's target, by
# default "cargo test".
/^ +Running unittests / { match($0, /deps\/[a-z0-9_]+-/); name = substr($0, RSTART + 5, RLENGTH - 6); gsub(/_/, "-", name)
    target = "--package " name " --lib" }
/^ +Running tests\// { match($0, /deps\/[a-z0-9_]+-/); target = "--test " substr($0, RSTART + 5, RLENGTH - 6) }
/^ +Doc-tests / { name = $2; gsub(/_/, "-", name); target = "--package " name " --doc" }
/^---- .* stdout ----$/ { section = $2 }
/^repeat: / { if (section != "") told[target, section] = 1 }
/^test .* \.\.\. FAILED$/ { count++; targets[count] = target; tests[count] = $2 }
END {
    if (prefix == "") prefix = "cargo test"
    for (i = 1; i <= count; i++) if (!((targets[i], tests[i]) in told)) print "repeat: " prefix, targets[i], tests[i]
}
