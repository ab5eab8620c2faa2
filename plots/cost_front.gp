# cost_front.gp - what a second less of p99 TTFT costs: each configuration that was simulated, and the
# Pareto front of cost, p99 TTFT and goodput (filled).
#
# Data: cost_front.csv in this folder. Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "cost_front"
if (!exists("heading")) heading = "recommend"
set datafile separator ","
set datafile missing NaN
set encoding utf8
set xrange [0:*]
set yrange [0:*]
set xlabel "cost [currency of the prices, per hour]"
set ylabel "TTFT p99 [s]"
set title heading . "\n{/*0.85 configurations that were simulated, the wear of drives counted}"
set key outside bottom center horizontal
set bmargin 7
set grid linecolor rgb "#dddddd" linetype 1
set tics out nomirror
set border 3
do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,560 font "DejaVu Sans,13" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,840 font "DejaVu Sans,10" enhanced fontscale 1.5 linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    plot "cost_front.csv" skip 1 using 2:(int($5) == 0 && int($6) == 0 ? $3 : NaN) with points pointtype 4 \
             linecolor rgb "#999999" title "misses the SLO", \
         "" skip 1 using 2:(int($5) == 1 && int($6) == 0 ? $3 : NaN) with points pointtype 6 \
             linecolor rgb "#0072B2" title "meets it", \
         "" skip 1 using 2:(int($6) == 1 && int($5) == 1 ? $3 : NaN) with points pointtype 7 pointsize 1.3 \
             linecolor rgb "#0072B2" title "meets it, on the front", \
         "" skip 1 using 2:(int($6) == 1 && int($5) == 0 ? $3 : NaN) with points pointtype 5 pointsize 1.3 \
             linecolor rgb "#999999" title "misses it, on the front", \
         "" skip 1 using 2:(int($7) == 1 ? $3 : NaN) with points pointtype 8 pointsize 2.5 linewidth 2 \
             linecolor rgb "#D55E00" title "cheapest that meets it"
    set output
}
