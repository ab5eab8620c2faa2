# ttft_cdf.gp - the distribution of TTFT, a line a policy.
#
# Data: ttft_cdf.csv in this folder, a row a share of the requests, a column a policy.
# Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "ttft_cdf"
if (!exists("heading")) heading = "time to first token"
set datafile separator ","
set encoding utf8

stats "ttft_cdf.csv" skip 1 nooutput
n = int(STATS_columns)
array policy[n]
stats "ttft_cdf.csv" every ::0::0 using (sum [i = 2:n] (policy[i] = strcol(i), 0)) nooutput
plain(name) = name[1:strlen(name) - strlen("_ttft_s")]
low = 1e99
high = 0
do for [i = 2:n] {
    stats "ttft_cdf.csv" skip 1 using i nooutput
    low = STATS_min < low ? STATS_min : low
    high = STATS_max > high ? STATS_max : high
}

# Okabe and Ito's colours, a policy's own in every figure; dashes and marks differ too
order = "recompute load token-split layer-split best optimal no-cache exact"
array colour[9] = ["#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", \
                   "#999999", "#F0E442"]
array mark[9] = [5, 7, 9, 11, 13, 4, 6, 8, 1]
do for [i = 1:n - 1] {
    place = 9
    do for [k = 1:words(order)] { if (word(order, k) eq plain(policy[i + 1])) { place = k } }
    eval sprintf("set style line %d linecolor rgb '%s' dashtype %d linewidth 2.5 pointtype %d", \
                 i, colour[place], (place - 1) % 5 + 1, mark[place])
}

set logscale x 10
set xrange [low * 0.9:high * 1.1]
set yrange [0:1]
set xtics ("1 us" 1e-6)
do for [k = -5:4] {
    do for [m in "1 2 5"] {
        s = m * 10.0 ** k
        set xtics add (s < 1e-3 ? sprintf("%g us", s * 1e6) : s < 1 ? sprintf("%g ms", s * 1e3) : sprintf("%g s", s) s)
    }
}
set format y "%.1f"
set xlabel "time to first token [ms and s, log scale]"
set ylabel "share of requests within it"
set title heading . "\n{/*0.85 simulated}"
set key right bottom samplen 4 spacing 1.2
set grid ytics linecolor rgb "#dddddd" linetype 1
set tics out nomirror
set border 3

do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,560 font "DejaVu Sans,15" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,840 font "DejaVu Sans,11" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    plot for [i = 2:n] "ttft_cdf.csv" skip 1 using i:1 with linespoints linestyle i - 1 \
        pointsize 1.2 pointinterval (100 + 7 * i) title plain(policy[i])
    set output
}
