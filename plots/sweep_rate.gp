# sweep_rate.gp - goodput against the rate that was offered; where a policy's goodput first falls 5 %
# behind, it is saturated (marked).
#
# Data: sweep_rate.csv in this folder. Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "sweep_rate"
if (!exists("heading")) heading = "sweep"
set datafile separator ","
set datafile missing NaN
set encoding utf8
names = ""
known(name) = strstrt(" " . names . " ", " " . name . " ") ? 0 : (names = names . " " . name, 0)
stats "sweep_rate.csv" skip 1 using (known(strcol(3)) + $1) nooutput
most = STATS_max
array colour[8] = ["#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#999999"]
array at[words(names)]
do for [k = 1:words(names)] {
    at[k] = 1e99
    stats "sweep_rate.csv" skip 1 using (strcol(3) eq word(names, k) && $2 < 0.95 * $1 && $1 < at[k] ? (at[k] = $1, 0) : 0) nooutput
}
set xrange [0:most * 1.05]
set yrange [0:*]
set xlabel "offered [requests/s]"
set ylabel "goodput [requests/s within the SLO]"
set title heading . "\n{/*0.85 others at their middle value; vertical: first rate whose goodput is 5 % behind; simulated}"
set key left top
set grid linecolor rgb "#dddddd" linetype 1
set tics out nomirror noenhanced
set key noenhanced
set border 3
do for [k = 1:words(names)] {
    if (at[k] < 1e98) { set arrow k from at[k], graph 0 to at[k], graph 1 nohead linecolor rgb colour[(k - 1) % 8 + 1] dashtype 3 }
}
do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,560 font "DejaVu Sans,13" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,840 font "DejaVu Sans,10" enhanced fontscale 1.5 linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    plot x with lines linecolor rgb "#999999" dashtype 2 title "all of it", \
         for [k = 1:words(names)] "sweep_rate.csv" skip 1 using 1:(strcol(3) eq word(names, k) ? $2 : NaN) \
             with linespoints linecolor rgb colour[(k - 1) % 8 + 1] linewidth 2 pointtype 7 title word(names, k)
    set output
}
