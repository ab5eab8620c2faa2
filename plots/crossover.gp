# crossover.gp - which policy serves a lone prompt best: cached context against load bandwidth.
#
# Data: crossover.csv, a row a cell, and crossover_tiers.csv, the machine's tiers; in this folder.
# Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "crossover"
if (!exists("heading")) heading = "crossover map"
set datafile separator ","
set encoding utf8

stats "crossover.csv" skip 1 using 7 nooutput name "NEW"
stats "crossover.csv" skip 1 using 2 nooutput name "LO"
stats "crossover.csv" skip 1 using 3 nooutput name "HI"
stats "crossover.csv" skip 1 using ($5/1e9) nooutput name "BLO"
stats "crossover.csv" skip 1 using ($6/1e9) nooutput name "BHI"
stats "crossover.csv" skip 1 using 10 nooutput name "CHOICE"
n = int(CHOICE_max) + 1
array policy[n]
do for [i = 1:n] {
    policy[i] = ""
    stats "crossover.csv" skip 1 using (int($10) == i - 1 ? (policy[i] = strcol(9), 1) : 0) nooutput
}

# Okabe and Ito's colours by the policy's place in the registry; paler where the fastest gains little
colour(i) = i == 0 ? 0xD55E00 : i == 1 ? 0x0072B2 : i == 2 ? 0xE69F00 : i == 3 ? 0x009E73 : \
            i == 4 ? 0xCC79A7 : i == 5 ? 0x56B4E9 : 0x999999
strength(gain) = 0.35 + 0.65 * (gain > 2 ? 1 : gain - 1)
mix(c, s) = int(255 - s * (255 - c))
shade(i, s) = mix((int(colour(i)) >> 16) & 255, s) * 65536 \
            + mix((int(colour(i)) >> 8) & 255, s) * 256 + mix(int(colour(i)) & 255, s)

set logscale x 2
set logscale y 10
set xrange [LO_min:HI_max]
set yrange [BLO_min:BHI_max]
set xtics ("512" 512, "1K" 1024, "2K" 2048, "4K" 4096, "8K" 8192, "16K" 16384, "32K" 32768, \
           "64K" 65536, "128K" 131072)
set ytics ("0.2" 0.2, "0.5" 0.5, "1" 1, "2" 2, "5" 5, "10" 10, "20" 20, "50" 50, "100" 100)
set xlabel "cached context [tokens, log scale]"
set ylabel "load bandwidth [GB/s, log scale]"
set title heading . sprintf("\n{/*0.85 A lone prompt with %d new tokens, simulated. Colour: simplest policy within " \
    . "2 %% of the fastest.}\n{/*0.85 Numbers, darker: how many times as fast as the better of recompute " \
    . "and load. Dots: error bars leave open which is faster.}", int(NEW_max))
set key outside bottom center horizontal samplen 1.5
set bmargin 6.5
set tics out nomirror
set border 3
set style fill solid 1 noborder

# one number an octave, where it says something
shown(c, b) = abs(log(c / 1024.0) / log(2) - floor(log(c / 1024.0) / log(2) + 0.5)) < 0.01 \
           && abs(log(b / 1e9) / log(2) - floor(log(b / 1e9) / log(2) + 0.5)) < 0.01 && c > 600 && c < 1e5
number(gain) = gain >= 1.05 ? sprintf("%.1f", gain) : ""

do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,680 font "DejaVu Sans,15" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,1020 font "DejaVu Sans,11" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    plot "crossover.csv" skip 1 using 1:($4/1e9):($2*0.997):($3*1.003):($5/1.004e9):($6/0.996e9):(shade($10, strength($11))) \
             with boxxyerror linecolor rgb variable notitle, \
         "" skip 1 using (shown($1, $4) ? $1 : 1/0):($4/1e9):(number($11)) with labels \
             font "DejaVu Sans,9" notitle, \
         "" skip 1 using (int($12) == 0 ? $1 : 1/0):($4/1e9) with points pointtype 7 pointsize 0.25 \
             linecolor rgb "black" title "unsure", \
         for [i = 1:n] keyentry with boxes linecolor rgb (policy[i] eq "" ? 0xFFFFFF : shade(i - 1, 0.8)) \
             title policy[i], \
         "crossover_tiers.csv" skip 1 using (LO_min):($2/1e9):(HI_max - LO_min):(0) with vectors \
             nohead linecolor rgb "black" dashtype 2 linewidth 2 title "this machine's tiers", \
         "" skip 1 using (LO_min * 1.08 * 1.9 ** $0):($2/1e9):1 with labels left offset 0,0.6 noenhanced notitle
    set output
}
