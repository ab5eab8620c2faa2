# TTFT of recomputing, loading and the plan against the cached context, with the profile's error band.
# Reads dir/plan_crossover.csv (kvsim plan --plot), writes dir/plan_crossover.svg and .png.
set datafile separator comma
file = dir.'/plan_crossover.csv'
black = '#000000'; blue = '#0072B2'; vermillion = '#D55E00' # Okabe and Ito: safe for the colour-blind

set logscale xy 2
set logscale y 10
set format x '%.0f'
set xlabel 'cached tokens (log)'
set ylabel 'TTFT (ms, log)'
set grid lc rgb '#dddddd' lw 0.5
set key top left reverse Left
set style fill transparent solid 0.2 noborder
set tics out nomirror
name(column) = system("head -1 '".file."' | cut -d, -f".column." | sed 's/_ms$//'")

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 760,480 font 'sans,12' background '#ffffff' } \
    else { set terminal pngcairo size 1140,720 font 'sans,16' background '#ffffff' }
    set output dir.'/plan_crossover.'.output
    plot file skip 1 using 1:3:4 with filledcurves lc rgb vermillion notitle, \
         '' skip 1 using 1:6:7 with filledcurves lc rgb blue notitle, \
         '' skip 1 using 1:9:10 with filledcurves lc rgb black notitle, \
         '' skip 1 using 1:2 with linespoints pt 6 dt 2 lw 2 lc rgb vermillion title name(2), \
         '' skip 1 using 1:5 with linespoints pt 4 dt 4 lw 2 lc rgb blue title name(5), \
         '' skip 1 using 1:8 with linespoints pt 7 ps .6 lw 2.5 lc rgb black title name(8).' (bands: the error bars of link and GPU)'
    unset output
}
