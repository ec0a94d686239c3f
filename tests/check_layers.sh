#!/bin/sh
# SPDX-License-Identifier: MIT
# Includes between the rooms of lib/ point only downward; wait and base share the ground floor,
# and there wait may include base. A room's name is the folder's.
: "${srcdir:=.}"
cd "$srcdir" || exit 99
grep -rnE --include='*.[chS]' '^[ \t]*#[ \t]*include[ \t]+"[a-z_]+/' lib | awk -F: '
    BEGIN {
        floor["base"] = 0; floor["wait"] = 0; floor["arena"] = 1; floor["sync"] = 2
        floor["queue"] = 3; floor["exec"] = 4; floor["fiber"] = 5; floor["io"] = 6
        floor["preload"] = 7
    }
    {
        split($1, path, "/"); from = path[2]
        split($0, word, "\""); split(word[2], part, "/"); to = part[1]
        seen++
        if (!(from in floor) || !(to in floor)) why = "a room without a floor"
        else if (from == to || floor[to] < floor[from]) next
        else if (from == "wait" && to == "base") next
        else why = from " is not above " to
        print "FAILED: " $1 ":" $2 ": includes " word[2] ": " why
        failed++
    }
    END { print seen + 0 " includes between rooms, " failed + 0 " failures"; exit failed > 0 }'
