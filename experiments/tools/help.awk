# The text of `make help`: awk -v first="all table6" -f experiments/tools/help.awk Makefile
# First what everybody needs, then the other targets by the room of the Makefile that they stand in, then the variables.
BEGIN { newcomers = split(first, wanted, " ") }
/^# -+ / {
    room = $3
    for (i = 4; i <= NF; i++) room = room " " $i
}
/^[a-z0-9-]+:.* ## / {
    name = text = $0
    sub(/:.*/, "", name)
    sub(/.* ## /, "", text)
    line = sprintf("  %-16s %s\n", name, text)
    if (index(" " first " ", " " name " ")) {
        begin[name] = line
    } else {
        if (room != shown) targets = targets "\n" room "\n"
        shown = room
        targets = targets line
    }
}
/^[A-Z_]+ \?=/ {
    name = value = text = $0
    sub(/ \?=.*/, "", name)
    sub(/^[A-Z_]+ \?= ?/, "", value)
    sub(/#.*/, "", value)
    sub(/^[^#]*# +/, "", text)
    variables = variables sprintf("  %-23s %s\n", name "=" value, text)
}
END {
    print "Usage: make TARGET [VARIABLE=value ...]     (V=1 shows the commands, make -n TARGET what would run)"
    print "\nto begin with"
    for (i = 1; i <= newcomers; i++) printf "%s", begin[wanted[i]]
    printf "%s\nvariables\n%s", targets, variables
}
