# What each stage does when: a bar a layer on every route, in the decoder and on the GPU.
# Reads dir/plan_stages.csv (kvsim plan --plot), writes dir/plan_stages.svg and .png.
set datafile separator comma
file = dir.'/plan_stages.csv'
orange = '#E69F00'; green = '#009E73'; purple = '#CC79A7'; grey = '#999999' # Okabe and Ito: safe for the colour-blind

set xlabel 'time since the request (ms)'
set xrange [0:*]
set yrange [*:*] reverse
set offsets 0, 0, .6, .6
set grid xtics lc rgb '#dddddd' lw 0.5
set tics out nomirror
set style fill solid 0.85 border rgb '#ffffff'
set key below
again(work) = work eq 'repair' || work eq 'from states'

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 760,280 font 'sans,12' background '#ffffff' } \
    else { set terminal pngcairo size 1140,420 font 'sans,16' background '#ffffff' }
    set output dir.'/plan_stages.'.output
    plot file skip 1 using (($4 + $5) / 2):2:4:5:($2 - .35):($2 + .35):(int($3) % 2):ytic(1) with boxxyerror lc rgbcolor (0x0072B2) notitle, \
         '' skip 1 using (($4 + $5) / 2):(strcol(6) eq 'computed again' ? $2 : NaN):4:5:($2 - .35):($2 + .35) with boxxyerror lc rgb green title 'computed again', \
         '' skip 1 using (($4 + $5) / 2):(again(strcol(6)) ? $2 : NaN):4:5:($2 - .35):($2 + .35) with boxxyerror lc rgb purple title 'repaired, or computed from states', \
         '' skip 1 using (($4 + $5) / 2):(strcol(6) eq 'new tokens' ? $2 : NaN):4:5:($2 - .35):($2 + .35) with boxxyerror lc rgb orange title 'new tokens', \
         '' skip 1 using (($4 + $5) / 2):(strcol(6) eq 'later chunks and logits' ? $2 : NaN):4:5:($2 - .35):($2 + .35) with boxxyerror lc rgb grey title 'later chunks, logits'
    unset output
}
