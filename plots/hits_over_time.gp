# hits_over_time.gp - share of the input tokens that were held somewhere, over time, a line a policy.
#
# Data: hits_over_time.csv in this folder, a row a policy and bin of time.
# Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "hits_over_time"
if (!exists("heading")) heading = "hits"
set datafile separator ","
set encoding utf8

# the policies, in the order of the file; the last column
names = system("tail -n +2 hits_over_time.csv | cut -d, -f1 | uniq")
n = words(names)
last = words(system("head -n 1 hits_over_time.csv | tr ',' ' '"))

# Okabe and Ito's colours, a policy's own in every figure; dashes and marks differ too
order = "recompute load token-split layer-split best optimal no-cache exact"
array colour[9] = ["#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", \
                   "#999999", "#F0E442"]
array mark[9] = [5, 7, 9, 11, 13, 4, 6, 8, 1]
do for [i = 1:n] {
    place = 9
    do for [k = 1:words(order)] { if (word(order, k) eq word(names, i)) { place = k } }
    eval sprintf("set style line %d linecolor rgb '%s' dashtype %d linewidth 2 pointtype %d", \
                 i, colour[place], (place - 1) % 5 + 1, mark[place])
}

stats "hits_over_time.csv" skip 1 using 3 nooutput name "END"
unit = END_max < 300 ? 1 : END_max < 18000 ? 60 : 3600
set xlabel "time [" . (unit == 1 ? "s" : unit == 60 ? "min" : "h") . "]"
set ylabel "share of the input tokens held in HBM or a tier"
set xrange [0:END_max / unit]
set yrange [0:1]
set title heading . "\n{/*0.85 simulated}"
set key outside bottom center horizontal samplen 4
set grid ytics linecolor rgb "#dddddd" linetype 1
set tics out nomirror
set border 3
mine(i) = strcol(1) eq word(names, i) ? column(last) : NaN

do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,560 font "DejaVu Sans,15" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,840 font "DejaVu Sans,11" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    plot for [i = 1:n] "hits_over_time.csv" skip 1 using (($2 + $3) / 2 / unit):(mine(i)) \
        with linespoints linestyle i pointsize 0.9 pointinterval (12 + i) title word(names, i)
    set output
}
