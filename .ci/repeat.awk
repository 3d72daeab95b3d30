# Reads what `cargo test` printed; names for each failed test the one command that repeats it. A test that drew from a
# seed has printed its own, which counts. `prefix` is what stands before the test's target, "cargo test" by default.
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
