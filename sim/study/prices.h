/*
 * prices.h - what hardware costs: configs/prices/NAME.json, each figure with its source and date.
 */
#ifndef KVS_PRICES_H
#define KVS_PRICES_H

#include "base/json.h"

#include <stdio.h>

/* In the file's currency, or the unit in its name. */
enum kvs_price {
    KVS_PRICE_YEARS,       /* over which hardware is written off */
    KVS_PRICE_GPU,         /* one GPU with its share of a host: chassis, processors, network */
    KVS_PRICE_GPU_POWER_W, /* with its share of the host's */
    KVS_PRICE_DRAM_GIB,    /* of KV tier, over what the host has anyway */
    KVS_PRICE_DRIVE_BYTES,
    KVS_PRICE_DRIVE,
    KVS_PRICE_DRIVE_READ, /* bytes per second */
    KVS_PRICE_DRIVE_WRITE,
    KVS_PRICE_DRIVE_IOPS,
    KVS_PRICE_DRIVE_DELIVERED, /* share of these rates that is met */
    KVS_PRICE_DRIVE_DWPD,      /* drive writes a day that it is made for */
    KVS_PRICE_KWH,
    KVS_PRICE_PUE,
    KVS_N_PRICE
};

struct kvs_prices {
    const char *name, *currency;
    double value[KVS_N_PRICE];
    struct kvs_doc *doc;
};

/* Reads a file, or a name of configs/prices. */
KVS_MUST_CHECK enum kvs_code kvs_prices_open(const char *name_or_file, struct kvs_prices **prices,
                                             struct kvs_err *err);
void kvs_prices_free(struct kvs_prices *prices); /* accepts NULL */
/* A line a figure: value, source, date, reference. */
void kvs_prices_print(const struct kvs_prices *prices, FILE *to);

#endif
