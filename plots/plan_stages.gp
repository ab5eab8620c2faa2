# What each stage does when: a bar a layer on every route, in the decoder and on the GPU.
# Reads dir/plan_stages.csv (kvsim plan --plot), writes dir/plan_stages.svg and .png.
set datafile separator comma
file = dir.'/plan_stages.csv'
blue = '#0072B2'; orange = '#E69F00'; green = '#009E73'; purple = '#CC79A7'; grey = '#999999' # Okabe and Ito: safe for the colour-blind

set xlabel 'time since the request (ms)'
set xrange [0:*]
set yrange [*:*] reverse
set offsets 0, 0, .6, .6
set grid xtics lc rgb '#dddddd' lw 0.5
set tics out nomirror
set style fill solid 0.85 border rgb '#ffffff'
set key outside top center horizontal width 1

# what is not done has no entry in the legend
n_work = 7
array work[n_work] = ['load', 'decode', 'computed again', 'repair', 'from states', 'new tokens', 'later chunks and logits']
array name[n_work] = ['loaded', 'decoded', 'computed again', 'repaired', 'computed from states', 'new tokens', 'later chunks, logits']
array color[n_work] = [blue, '#56B4E9', green, purple, purple, orange, grey]
array title[n_work]
do for [w = 1:n_work] {
    stats file skip 1 using (strcol(6) eq work[w] ? 1 : 0) nooutput
    title[w] = STATS_sum > 0 ? name[w] : ''
}

do for [output in 'svg png'] {
    if (output eq 'svg') { set terminal svg size 760,280 font 'sans,12' background '#ffffff' } \
    else { set terminal pngcairo size 1140,420 font 'sans,16' background '#ffffff' }
    set output dir.'/plan_stages.'.output
    plot file skip 1 using 4:2:ytic(1) with dots lc rgb '#ffffff' notitle, \
         for [w = 1:n_work] file skip 1 using (($4 + $5) / 2):(strcol(6) eq work[w] ? $2 : NaN):4:5:($2 - .35):($2 + .35) with boxxyerror lc rgb color[w] title title[w]
    unset output
}
