# A plan's staircase: which tokens of each layer are computed again and which are loaded.
# Reads dir/plan_staircase.csv (kvsim plan --plot), writes dir/plan_staircase.svg and .png.
set datafile separator comma
file = dir.'/plan_staircase.csv'
blue = '#0072B2'; orange = '#E69F00'; sky = '#56B4E9' # Okabe and Ito: safe for the colour-blind

set xlabel 'cached tokens, from the first (k tokens)'
set ylabel 'layer'
set autoscale yfix
set yrange [*:*] reverse
set xrange [0:*]
set grid xtics lc rgb '#dddddd' lw 0.5
set key outside top center horizontal
set style fill solid 0.8 noborder
set tics out nomirror

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 760,520 font 'sans,12' background '#ffffff' } \
    else { set terminal pngcairo size 1140,780 font 'sans,16' background '#ffffff' }
    set output dir.'/plan_staircase.'.output
    plot file skip 1 using (($2 + $3 + $4) / 2e3):1:(($2 + $3) / 1e3):($4 / 1e3):($1 - .5):($1 + .5) with boxxyerror fs pattern 4 lc rgb sky title 'loaded', \
         '' skip 1 using ($2 / 2e3):1:(0):($2 / 1e3):($1 - .5):($1 + .5) with boxxyerror lc rgb orange title 'computed again', \
         '' skip 1 using ($2 / 1e3 + $3 / 2e3):1:($2 / 1e3):(($2 + $3) / 1e3):($1 - .5):($1 + .5) with boxxyerror fs solid 0.8 lc rgb blue title 'repaired (spread over the passages)'
    unset output
}
