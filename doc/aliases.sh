#!/bin/sh
# SPDX-License-Identifier: MIT
# Link pages: `man plait_lock_acquire` shows plait_lock(3).
#
#     aliases.sh make FOLDER PAGE...     write them into FOLDER (a man3)
#     aliases.sh remove FOLDER PAGE...   take them away
#
# A page has one for each other name that its NAME section lists.
set -e
verb=$1
folder=$2
shift 2
for page; do
    own=${page##*/}
    awk '/^\.Sh /{ in_name = ($2 == "NAME") } in_name && $1 == ".Nm" { print $2 }' "$page" |
        while read -r name; do
            link=$name.${own##*.}
            [ "$link" != "$own" ] || continue
            case $verb in
            make) echo ".so man${own##*.}/$own" >"$folder/$link" ;;
            remove) rm -f "$folder/$link" ;;
            esac
        done
done
