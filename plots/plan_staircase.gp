# A plan's staircase: which tokens of each layer are computed again and which are loaded, at which level.
# Reads dir/plan_staircase.csv (kvsim plan --plot), writes dir/plan_staircase.svg and .png.
set datafile separator comma
file = dir.'/plan_staircase.csv'
green = '#009E73'; purple = '#CC79A7'; blue = '#0072B2' # Okabe and Ito: safe for the colour-blind; as in plan_stages.gp

stats file skip 1 using 2 name 'computed' nooutput
stats file skip 1 using 3 name 'repaired' nooutput
stats file skip 1 using 4 name 'context' nooutput
stats file skip 1 using ($4 - $2 - $3) name 'loaded' nooutput
n_layer = context_records

set xlabel 'cached tokens, from the first (k tokens)'
set ylabel 'layer'
set autoscale yfix
set yrange [-.5:n_layer - .5] reverse
set xrange [0:context_max / 1e3]
set key outside top center horizontal
set style fill solid 0.8 noborder
set tics out nomirror
set palette defined (0 '#e8f4fb', 4 '#b5dcf2', 16 '#56B4E9')
set cbrange [0:16]
set cblabel 'stored bits an element'
# a level is named where its layers leave room for it
fits(n) = n > 0 && n >= n_layer / 32.

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 760,520 font 'sans,12' background '#ffffff'; small = 'sans,10' } \
    else { set terminal pngcairo size 1140,780 font 'sans,16' background '#ffffff'; small = 'sans,13' }
    set output dir.'/plan_staircase.'.output
    plot file skip 1 using (($2 + $3 + $4) / 2e3):1:(($2 + $3) / 1e3):($4 / 1e3):($1 - .5):($1 + .5):6 with boxxyerror lc palette notitle, \
         NaN with boxes lc rgb '#56B4E9' title loaded_max > 0 ? 'loaded' : '', \
         file skip 1 using ($2 / 2e3):1:(0):($2 / 1e3):($1 - .5):($1 + .5) with boxxyerror lc rgb green title computed_max > 0 ? 'computed again' : '', \
         '' skip 1 using ($2 / 1e3 + $3 / 2e3):1:($2 / 1e3):(($2 + $3) / 1e3):($1 - .5):($1 + .5) with boxxyerror lc rgb purple title repaired_max > 0 ? 'repaired (spread over the passages)' : '', \
         '' skip 1 using (($2 + $3 + $4) / 2e3):(fits($7) ? $1 + ($7 - 1) / 2. : NaN):5 with labels font small notitle
    unset output
}
