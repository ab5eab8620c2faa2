/* vec_avx512bf16.h - see vec_avx512.h: of CPUs that have VBMI2 and BF16 too. */
#ifndef KVS_VEC_NAME
#define KVS_VEC_NAME avx512bf16
#endif
#include "vec_avx512.h"
