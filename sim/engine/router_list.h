/* The routers, one line each: X(file suffix). The order is that of --help. */
X(round_robin)
X(least_loaded)
X(least_work)
X(cache_aware)
X(least_ttft)
