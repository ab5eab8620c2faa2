/*
 * trace_list.h - the trace formats that kvsim reads, in the order in which they are tried on a file
 * whose format was not said. One more format: a file trace_NAME.c and a line here.
 */
X(kvsim)
X(kvt)
X(ragpulse)
X(agentic)
X(bailian)
X(mtrag)
X(lmcache_agent)
X(lmcache_lookup)
X(gmi)
X(mooncake)
X(azure)
X(burstgpt)
X(vidur)
