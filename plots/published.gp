# Predicted against published: one panel a unit, logarithmic axes, a band of 20 % around equality.
# Reads dir/published.csv (kvsim published --plot), writes dir/published.svg and dir/published.png.
set datafile separator comma
file = dir.'/published.csv'
blue = '#0072B2'; vermillion = '#D55E00'; grey = '#999999' # Okabe and Ito: safe for the colour-blind

set logscale xy
set format '10^{%L}'
set grid lc rgb '#dddddd' lw 0.5
set size square
set key top left reverse Left samplen 1
set style fill transparent solid 0.35 noborder

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 1250,430 font 'sans,12' background '#ffffff' } \
    else { set terminal pngcairo size 1875,645 font 'sans,16' background '#ffffff' }
    set output dir.'/published.'.output
    set multiplot layout 1,3
    do for [panel = 1:3] {
        unit = word('s byte/s ratio', panel)
        name = word('time bandwidth speed-up', panel)
        if (panel == 1) { lo = 1e-5; hi = 10 }
        if (panel == 2) { lo = 1e9; hi = 1e11 }
        if (panel == 3) { lo = 1; hi = 100 }
        set xrange [lo:hi]; set yrange [lo:hi]
        label = unit eq 'ratio' ? ' over recompute (ratio, log)' : ' ('.unit.', log)'
        set xlabel 'published '.name.label
        set ylabel 'predicted '.name.label
        is(want, have) = strcol(3) eq unit && strcol(7) eq have ? want : NaN
        plot '+' using 1:($1 / 1.2):($1 * 1.2) with filledcurves lc rgb grey title '+-20 %', \
            x with lines lc rgb 'black' lw 0.7 notitle, \
            file skip 1 using 4:(is($5, 'fitted')) with points pt 6 ps 1.1 lw 1.2 lc rgb grey title 'used in fitting', \
            file skip 1 using 4:(is($5, 'passed')) with points pt 7 ps 0.8 lc rgb blue title 'passed', \
            file skip 1 using 4:(is($5, 'failed')) with points pt 2 ps 1.5 lw 3 lc rgb vermillion title 'failed'
    }
    unset multiplot
    unset output
}
