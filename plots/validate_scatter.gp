# TTFT predicted against measured, a mark a cell, by policy; bands of 5 and 15 % around equality.
# Reads dir/validate.csv (kvsim validate -o DIR), writes dir/validate_scatter.svg and .png.
set datafile separator comma
file = dir.'/validate.csv'
# Okabe and Ito: safe for the colour-blind
blue = '#0072B2'; vermillion = '#D55E00'; green = '#009E73'; purple = '#CC79A7'; grey = '#999999'
orange = '#E69F00'; sky = '#56B4E9'

set logscale xy
set grid lc rgb '#dddddd' lw 0.5
set size square
set key top left reverse Left samplen 1
set style fill transparent solid 0.3 noborder
set xlabel 'measured TTFT (s, log; bar: quiet repeats)'
set ylabel 'predicted TTFT (s, log)'
stats file skip 1 using 11 nooutput
lo = STATS_min / 1.3; hi = STATS_max * 1.3
set xrange [lo:hi]; set yrange [lo:hi]
is(name) = strcol(2) eq name && $15 == 0 ? $10 : NaN

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 620,600 font 'sans,12' background '#ffffff' } \
    else { set terminal pngcairo size 930,900 font 'sans,16' background '#ffffff' }
    set output dir.'/validate_scatter.'.output
    plot '+' using 1:($1 / 1.15):($1 * 1.15) with filledcurves lc rgb '#dddddd' title '+-15 %', \
        '+' using 1:($1 / 1.05):($1 * 1.05) with filledcurves lc rgb grey title '+-5 %', \
        x with lines lc rgb 'black' lw 0.7 notitle, \
        file skip 1 using 11:(is('recompute')):12:13 with xerrorbars pt 4 ps 0.7 lc rgb vermillion title 'recompute', \
        '' skip 1 using 11:(is('load')):12:13 with xerrorbars pt 6 ps 0.7 lc rgb blue title 'load', \
        '' skip 1 using 11:(is('half')):12:13 with xerrorbars pt 8 ps 0.7 lc rgb green title 'half and half', \
        '' skip 1 using 11:(is('optimal')):12:13 with xerrorbars pt 12 ps 0.7 lc rgb purple title 'optimal', \
        '' skip 1 using 11:(is('hcache')):12:13 with xerrorbars pt 10 ps 0.7 lc rgb orange title 'HCache, hidden states', \
        '' skip 1 using 11:(is('epic')):12:13 with xerrorbars pt 14 ps 0.7 lc rgb sky title 'EPIC, moved text', \
        '' skip 1 using 11:(is('cacheblend')):12:13 with xerrorbars pt 3 ps 0.7 lc rgb sky title 'CacheBlend, moved text', \
        '' skip 1 using 11:(is('plan')):12:13 with xerrorbars pt 7 ps 0.7 lc rgb 'black' title 'plan', \
        '' skip 1 using 11:($15 == 1 ? $10 : NaN) with points pt 2 ps 0.8 lc rgb grey title 'noisy'
    unset output
}
