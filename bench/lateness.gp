# SPDX-License-Identifier: MIT
# Plots how late timers are called: gnuplot -e "in='...'; out='....svg'" lateness.gp; ten bars for each power of ten.
set terminal svg size 800,480 font "sans,13" background "white"
set output out
set title "How late timers are called that are due every 137 microseconds"
set xlabel "microseconds"
set ylabel "per cent of the timers"
set xrange [0:5]
set xtics ("1" 0, "10" 1, "100" 2, "1,000" 3, "10,000" 4, "100,000" 5)
set yrange [0:*]
set key left top
set grid ytics lc rgb "#dddddd"
bar(late) = late < 1 ? 0 : floor(10 * log10(late)) / 10.0
of(whose) = sprintf("< awk '$1 == \"%s\"' %s", whose, in)
array name[3] = ["libuv", "libev", "plait"]
array share[3]
do for [i = 1:3] {
    stats of(name[i]) using 2 nooutput
    share[i] = 100.0 / STATS_records
}
plot of("libuv") using (bar($2)):(share[1]) smooth frequency with fsteps lw 2 lc rgb "#2e8b57" title "libuv", \
     of("libev") using (bar($2)):(share[2]) smooth frequency with fsteps lw 2 lc rgb "#b8442c" title "libev", \
     of("plait") using (bar($2)):(share[3]) smooth frequency with fsteps lw 3 lc rgb "#1b6ca8" title "plait"
