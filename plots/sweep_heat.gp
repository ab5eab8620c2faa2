# sweep_heat.gp - p99 TTFT over the two longest axes of a sweep, the others at their middle value.
#
# Data: sweep_heat.csv in this folder. Variables: out, the drawing's name without its ending; heading.
if (!exists("out")) out = "sweep_heat"
if (!exists("heading")) heading = "sweep"
set datafile separator ","
set datafile missing NaN
set encoding utf8
x_name = ""; y_name = ""; policy = ""
stats "sweep_heat.csv" skip 1 using (x_name = strcol(1), y_name = strcol(2), policy = strcol(7), $8) nooutput
set logscale cb
set palette defined (0 "#fff7ec", 0.5 "#fc8d59", 1 "#7f0000")
set cblabel "TTFT p99 [s, log]"
set xlabel x_name noenhanced
set ylabel y_name noenhanced
set title heading . "\n{/*0.85 policy " . policy . ", others at their middle value; simulated}"
set tics out nomirror noenhanced
set key noenhanced
set xtics rotate by -30
unset key
do for [ending in "svg png"] {
    if (ending eq "svg") {
        set terminal svg size 900,560 font "DejaVu Sans,13" enhanced background rgb "white"
    } else {
        set terminal pngcairo size 1350,840 font "DejaVu Sans,10" enhanced fontscale 1.5 background rgb "white"
    }
    set output out . "." . ending
    plot "sweep_heat.csv" skip 1 using 3:4:($8):xtic(5):ytic(6) with image, \
         "sweep_heat.csv" skip 1 using 3:4:(sprintf("%.3g", $8)) with labels
    set output
}
