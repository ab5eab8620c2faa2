# ttft_stack.gp - what TTFT is made of, a bar a policy: on average, and around the 95th percentile.
#
# Data: ttft_stack.csv in this folder, a row a policy.
# Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "ttft_stack"
if (!exists("heading")) heading = "time to first token"
set datafile separator ","
set encoding utf8

stats "ttft_stack.csv" skip 1 using 2 nooutput
n = int(STATS_records)
stats "ttft_stack.csv" skip 1 using ($2 + $3 + $4 + $5) nooutput name "MEAN"
stats "ttft_stack.csv" skip 1 using ($6 + $7 + $8 + $9) nooutput name "P95"
scale(max) = max < 1 ? 1e3 : 1
unit(max) = max < 1 ? "ms" : "s"

# Okabe and Ito's colours, told apart by pattern too
array part[4] = ["queue", "load", "decode", "compute"]
array legend[4] = ["queue: waiting for the GPU or for room", "load: waiting for stored KV", \
                   "decode: other sequences' share of its steps", "compute: its own prefill"]
array colour[4] = ["#999999", "#0072B2", "#E69F00", "#D55E00"]
array pattern[4] = [1, 3, 2, 4]

set style data histograms
set style histogram rowstacked
set boxwidth 0.7
set xrange [-0.6:n - 0.4]
set grid ytics linecolor rgb "#dddddd" linetype 1
set tics out nomirror
set xtics rotate by -35 noenhanced
set border 3

do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 980,620 font "DejaVu Sans,15" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1470,930 font "DejaVu Sans,11" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    set multiplot
    set bmargin at screen 0.28
    set tmargin at screen 0.85
    do for [panel = 0:1] {
        max = panel ? P95_max : MEAN_max
        set lmargin at screen panel ? 0.60 : 0.11
        set rmargin at screen panel ? 0.98 : 0.49
        set yrange [0:max * scale(max) * 1.05]
        set ylabel (panel ? "TTFT around its 95th percentile [" : "mean TTFT [") . unit(max) . "]"
        if (panel) { unset label } else {
            set label 1 heading . ", simulated" at screen 0.5, 0.94 center font ",17"
        }
        if (panel) {
            unset key
        } else {
            set key at screen 0.5, 0.09 center Left reverse vertical maxrows 4 samplen 2 invert
        }
        plot for [i = 1:4] "ttft_stack.csv" skip 1 \
            using (column(1 + i + 4 * panel) * scale(max)):xticlabels(1) \
            fillstyle pattern pattern[i] border linecolor rgb colour[i] \
            linecolor rgb colour[i] title legend[i]
    }
    unset multiplot
    set output
}
