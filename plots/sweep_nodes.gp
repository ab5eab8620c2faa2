# sweep_nodes.gp - a cache tier over nodes: what is found, what travels between nodes, and TTFT.
#
# Data: sweep_nodes.csv in this folder. Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "sweep_nodes"
if (!exists("heading")) heading = "sweep"
set datafile separator ","
set datafile missing NaN
set encoding utf8
stats "sweep_nodes.csv" skip 1 using 2 nooutput
n = int(STATS_max)
array name[n]
axis = ""
do for [k = 1:n] { name[k] = "" }
keep(k, line, x) = (name[k] = line, axis = x, 0)
stats "sweep_nodes.csv" skip 1 using (keep(int($2), strcol(3), strcol(1))) nooutput
array colour[8] = ["#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#999999"]
set grid linecolor rgb "#dddddd" linetype 1
set tics out nomirror noenhanced
set key noenhanced
set border 3
here(k, y) = int(column(2)) == k ? y : NaN
do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 1400,480 font "DejaVu Sans,13" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 2100,720 font "DejaVu Sans,10" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    set multiplot layout 1,3 title heading . "\n{/*0.85 the last policy, other axes at their middle value; simulated}"
    set xlabel axis noenhanced
    set xrange [0:*]
    set key left top
    set yrange [0:1.15]
    set ylabel "share of input tokens found"
    plot for [k = 1:n] "sweep_nodes.csv" skip 1 using 4:(here(k, $5)) with linespoints \
        linecolor rgb colour[(k - 1) % 8 + 1] linewidth 2 pointtype 7 pointsize 0.7 title name[k]
    unset key
    set yrange [0:*]
    set ylabel "between nodes [GB/s, all of them]"
    plot for [k = 1:n] "sweep_nodes.csv" skip 1 using 4:(here(k, $6 / 1e9)) with linespoints \
        linecolor rgb colour[(k - 1) % 8 + 1] linewidth 2 pointtype 7 pointsize 0.7
    set logscale y
    set yrange [*:*]
    set format y "%g"
    set ylabel "TTFT [s, log]: line p50, dashes p99"
    plot for [k = 1:n] "sweep_nodes.csv" skip 1 using 4:(here(k, $7)) with linespoints \
        linecolor rgb colour[(k - 1) % 8 + 1] linewidth 2 pointtype 7 pointsize 0.7, \
        for [k = 1:n] "sweep_nodes.csv" skip 1 using 4:(here(k, $8)) with linespoints \
        linecolor rgb colour[(k - 1) % 8 + 1] linewidth 2 dashtype 2 pointtype 6 pointsize 0.7
    unset logscale y
    set format y "%h"
    unset multiplot
    set output
}
