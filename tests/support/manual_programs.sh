#!/bin/sh
# SPDX-License-Identifier: MIT
# manual_programs.sh FOLDER PAGE...: write each complete program of the pages, a display with a main, into FOLDER.
folder=$1
shift
for page; do
    awk -v stem="$folder/manual_$(basename "$page" | tr . _)_" '
        /^\.Ed/ && text ~ /int main\(/ { count++; printf "%s", text > (stem count ".c"); close(stem count ".c") }
        /^\.Ed/ { on = 0; text = "" }
        on { gsub(/\\-/, "-"); gsub(/\\e/, "\\"); sub(/^\\&/, ""); text = text $0 "\n" }
        /^\.Bd -literal/ { on = 1; text = "" }' "$page"
done
