# One plan's stages, a bar a layer: as predicted, and below as measured.
# Reads dir/validate_gantt.csv (kvsim validate -o DIR), writes dir/validate_gantt.svg and .png.
set datafile separator comma
file = dir.'/validate_gantt.csv'
blue = '#0072B2'; orange = '#E69F00' # Okabe and Ito: safe for the colour-blind

set xlabel 'time since the request (ms)'
set xrange [0:*]
set yrange [*:*] reverse
set offsets 0, 0, .6, .6
set grid xtics lc rgb '#dddddd' lw 0.5
set tics out nomirror
set style fill solid 0.85 border rgb '#ffffff'
unset key

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 900,400 font 'sans,12' background '#ffffff' } \
    else { set terminal pngcairo size 1350,600 font 'sans,16' background '#ffffff' }
    set output dir.'/validate_gantt.'.output
    plot file skip 1 using (($4 + $5) / 2):2:4:5:($2 - .35):($2 + .35):ytic(1) with boxxyerror lc rgb blue notitle, \
         '' skip 1 using (($4 + $5) / 2):($2 == 3 || $2 == 8 ? $2 : NaN):4:5:($2 - .35):($2 + .35) with boxxyerror lc rgb orange notitle
    unset output
}
