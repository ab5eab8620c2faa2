/* The schedulers, one line each: X(file suffix). The order is that of --help. */
X(fcfs)
X(shortest_first)
X(cache_first)
