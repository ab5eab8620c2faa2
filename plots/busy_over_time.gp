# busy_over_time.gp - how busy GPU and links are over time: a panel a policy, a line a machine part.
#
# Data: busy_over_time.csv in this folder, a row a policy and bin of time.
# Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "busy_over_time"
if (!exists("heading")) heading = "utilisation"
set datafile separator ","
set encoding utf8

# the policies, in the order of the file
names = system("tail -n +2 busy_over_time.csv | cut -d, -f1 | uniq")
n = words(names)

# columns of shares of time: those whose name ends so, and that are busy 1 % of the time
header = system("head -n 1 busy_over_time.csv | tr ',' ' '")
tail = "_busy_frac"
is_share(name) = strlen(name) > strlen(tail) && name[strlen(name) - strlen(tail) + 1:] eq tail
plain(name) = name[1:strlen(name) - strlen(tail)]
parts = ""
do for [c = 4:words(header)] {
    if (is_share(word(header, c))) {
        stats "busy_over_time.csv" skip 1 using c nooutput name "C"
        if (c == 4 || C_mean > 0.01) { parts = parts . c . " " }
    }
}
k = words(parts)
part(j) = int(word(parts, j))

array colour[8] = ["#000000", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#999999"]
stats "busy_over_time.csv" skip 1 using 3 nooutput name "END"
unit = END_max < 300 ? 1 : END_max < 18000 ? 60 : 3600
set xrange [0:END_max / unit]
set yrange [0:1]
set grid ytics linecolor rgb "#dddddd" linetype 1
set tics out nomirror
set ytics 0.5
set border 3

do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,(150 * n + 150) font "DejaVu Sans,15" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,(225 * n + 225) font "DejaVu Sans,11" enhanced fontscale 1.5 \
            linewidth 1.5 background rgb "white"
    }
    set output out . "." . ending
    set multiplot layout n, 1 title heading . "{/*0.85 , simulated: share of time busy}" \
        margins 0.09,0.80,0.12,0.90 spacing 0.05, 0.05
    do for [i = 1:n] {
        set ylabel word(names, i) noenhanced
        if (i == n) {
            set xlabel "time [" . (unit == 1 ? "s" : unit == 60 ? "min" : "h") . "]"
            set format x "%g"
        } else {
            unset xlabel
            set format x ""
        }
        if (i == 1) { set key at screen 0.81, 0.88 left top vertical maxrows 20 samplen 2 noenhanced } else { unset key }
        plot for [j = 1:k] "busy_over_time.csv" skip 1 \
            using (($2 + $3) / 2 / unit):(strcol(1) eq word(names, i) ? column(part(j)) : NaN) \
            with lines linecolor rgb colour[(j - 1) % 8 + 1] dashtype 1 + (j - 1) % 5 linewidth 2 \
            title plain(word(header, part(j)))
    }
    unset multiplot
    set output
}
