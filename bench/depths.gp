# SPDX-License-Identifier: MIT
# Plots bench/depths.tsv (bench/depths.c): gnuplot -e "in='...'; out='....svg'" depths.gp
set terminal svg size 800,480 font "sans,13" background "white"
set output out
set title "A put and a get, with so many items of 8 bytes in the queue (one thread)"
set xlabel "items in the queue"
set ylabel "nanoseconds for the pair"
set logscale x
set format x "10^{%L}"
set yrange [0:*]
set key left top
set grid ytics lc rgb "#dddddd"
set datafile missing "-"
plot in using 1:2 with linespoints lw 2 pt 7 lc rgb "#1b6ca8" title "FIFO", \
     in using 1:3 with linespoints lw 2 pt 7 lc rgb "#2e8b57" title "LIFO", \
     in using 1:4 with linespoints lw 2 pt 7 lc rgb "#b8442c" title "priority", \
     in using 1:5 with linespoints lw 2 pt 6 dt 2 lc rgb "#1b6ca8" title "FIFO, shared", \
     in using 1:6 with linespoints lw 2 pt 6 dt 2 lc rgb "#2e8b57" title "LIFO, shared", \
     in using 1:7 with linespoints lw 2 pt 6 dt 2 lc rgb "#b8442c" title "priority, shared"
