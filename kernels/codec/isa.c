#include "kern.h"

#include <string.h>

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("fma"); /* F16C came before AVX2 */
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("avx512bf16");
}
#endif

static bool has_all(void)
{
    return true;
}

static const struct {
    const struct kvs_kvf_isa *isa;
    bool (*here)(void);
} all[] = {
#if defined(__x86_64__)
    {&kvs_kvf_avx512bf16, has_avx512bf16},
    {&kvs_kvf_avx512, has_avx512},
    {&kvs_kvf_avx2, has_avx2},
#endif
    {&kvs_kvf_scalar, has_all},
};

const struct kvs_kvf_isa *kvs_kvf_isa(const char *name)
{
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if ((!name || strcmp(name, all[i].isa->name) == 0) && all[i].here())
            return all[i].isa;
    return NULL;
}

const char *kvs_kvf_isa_name(const struct kvs_kvf_isa *isa)
{
    return isa->name;
}
