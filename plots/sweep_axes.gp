# sweep_axes.gp - what each axis of a sweep does to TTFT (left) and to hits (right), the other axes
# at their middle value.
#
# Data: sweep_axes.csv in this folder. Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "sweep_axes"
if (!exists("heading")) heading = "sweep"
set datafile separator ","
set datafile missing NaN
set encoding utf8
stats "sweep_axes.csv" skip 1 using 1 nooutput
n = int(STATS_max)
names = ""
array title_of[n]
array numeric[n]
array low[n]
array high[n]
do for [i = 1:n] { title_of[i] = ""; numeric[i] = 0; low[i] = 1e99; high[i] = -1e99 }
keep(i, name, is, x) = (title_of[i] = name, numeric[i] = is, low[i] = x < low[i] ? x : low[i], \
                        high[i] = x > high[i] ? x : high[i], 0)
known(name) = strstrt(" " . names . " ", " " . name . " ") ? 0 : (names = names . " " . name, 0)
stats "sweep_axes.csv" skip 1 using (keep(int($1), strcol(2), int($3), $4) + known(strcol(6))) nooutput
array colour[8] = ["#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#999999"]
set grid linecolor rgb "#dddddd" linetype 1
set tics out nomirror noenhanced
set key noenhanced
set border 3
do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 1100,(80 + 330 * n) font "DejaVu Sans,13" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1650,(120 + 495 * n) font "DejaVu Sans,10" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    set multiplot layout n,2 title heading . "\n{/*0.85 others at their middle value; simulated}"
    do for [i = 1:n] {
        unset logscale x
        set xtics auto rotate by (numeric[i] ? 0 : -20)
        if (numeric[i] && low[i] > 0 && high[i] / low[i] > 9) { set logscale x }
        span = high[i] > low[i] ? high[i] - low[i] : 1
        if (numeric[i] && low[i] > 0 && high[i] / low[i] > 9) { set xrange [low[i] / 1.1:high[i] * 1.1] } \
        else { set xrange [low[i] - 0.05 * span:high[i] + 0.05 * span] }
        set format x (numeric[i] && high[i] >= 1e5 ? "%.0s%c" : "%g")
        set xlabel title_of[i] noenhanced
        set logscale y
        set yrange [*:*]
        set format y "%g"
        set ylabel "TTFT [s, log]: line p50, dashes p99"
        set key outside right top
        here(k, y) = int(column(1)) == i && strcol(6) eq word(names, k) ? y : NaN
        if (numeric[i]) {
            plot for [k = 1:words(names)] "sweep_axes.csv" skip 1 using 4:(here(k, $7)) with linespoints linecolor rgb colour[(k - 1) % 8 + 1] \
                     linewidth 2 pointtype 7 pointsize 0.5 title word(names, k), \
                 for [k = 1:words(names)] "sweep_axes.csv" skip 1 using 4:(here(k, $8)) with linespoints linecolor rgb colour[(k - 1) % 8 + 1] \
                     linewidth 2 dashtype 2 pointtype 6 pointsize 0.5 notitle
        } else {
            plot for [k = 1:words(names)] "sweep_axes.csv" skip 1 using 4:(here(k, $7)):xtic(int($1) == i ? strcol(5) : "") with linespoints linecolor rgb colour[(k - 1) % 8 + 1] \
                     linewidth 2 pointtype 7 pointsize 0.5 title word(names, k), \
                 for [k = 1:words(names)] "sweep_axes.csv" skip 1 using 4:(here(k, $8)) with linespoints linecolor rgb colour[(k - 1) % 8 + 1] \
                     linewidth 2 dashtype 2 pointtype 6 pointsize 0.5 notitle
        }
        unset logscale y
        set yrange [0:1]
        set ylabel "share of input tokens found"
        if (numeric[i]) {
            plot for [k = 1:words(names)] "sweep_axes.csv" skip 1 using 4:(here(k, $9)) with linespoints linecolor rgb colour[(k - 1) % 8 + 1] \
                linewidth 2 pointtype 7 pointsize 0.5 title word(names, k)
        } else {
            plot for [k = 1:words(names)] "sweep_axes.csv" skip 1 using 4:(here(k, $9)):xtic(int($1) == i ? strcol(5) : "") with linespoints linecolor rgb colour[(k - 1) % 8 + 1] \
                linewidth 2 pointtype 7 pointsize 0.5 title word(names, k)
        }
    }
    unset multiplot
    set output
}
