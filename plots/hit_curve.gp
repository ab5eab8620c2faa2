# hit_curve.gp - hit ratio of an LRU cache against its size, with its error bar where it is sampled.
#
# Data: hit_curve.csv in this folder (kvsim trace curve --plot).
# Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "hit_curve"
if (!exists("heading")) heading = "hit ratio"
set datafile separator ","
set encoding utf8
set logscale x 10
set format x "10^{%L}"
set yrange [0:1]
set xlabel "cache size [blocks, log scale]"
set ylabel "share of block accesses that hit"
set title heading . "\n{/*0.85 LRU, every size in one pass}"
set key left top
set grid linecolor rgb "#dddddd" linetype 1
set tics out nomirror
set border 3
set style fill transparent solid 0.3 noborder
do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,560 font "DejaVu Sans,15" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,840 font "DejaVu Sans,11" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    plot "hit_curve.csv" skip 1 using 1:($3 - $4):($3 + $4) with filledcurves linecolor rgb "#56B4E9" \
             title "95 % interval", \
         "hit_curve.csv" skip 1 using 1:3 with linespoints linecolor rgb "#0072B2" linewidth 2.5 \
             pointtype 7 pointsize 0.6 title "hits"
    set output
}
