#include <stdio.h>

int main(void)
{
    printf("kvsim " KVS_VERSION "\n");
    return 0;
}
