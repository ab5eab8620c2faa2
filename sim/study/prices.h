/*
 * prices.h - what hardware costs: configs/prices/NAME.json, each figure with its source and date.
 *
 * A GPU is bought (a price once, written off over years, and its power) or rented by the hour. What
 * a rented GPU brings along of DRAM and drives costs nothing more; what has no price can't be had.
 */
#ifndef KVS_PRICES_H
#define KVS_PRICES_H

#include "base/json.h"

#include <stdio.h>

#define KVS_MAX_PRICED 16 /* of one kind */

/* One GPU with its share of a host: chassis, processors, network. */
struct kvs_priced_gpu {
    const char *hardware;                   /* a profile of configs/hardware */
    uint32_t gpus_per_host;                 /* as the profile has it */
    double price, power_w;                  /* bought; 0: rented */
    double rent;                            /* an hour, power in it; 0: bought */
    double with_dram_gib, with_drive_bytes; /* that it brings along */
};

struct kvs_priced_drive {
    const char *name;
    double bytes, price; /* price 0: only those that rented GPUs bring along */
    double read, write;  /* bytes per second, data sheet */
    double iops;         /* reads a second */
    double delivered;    /* share of these rates that is met */
    double dwpd;         /* drive writes a day that it is made for */
};

/* The network of one GPU, in place of what its profile has. */
struct kvs_priced_nic {
    const char *name;
    double bytes_per_s; /* delivered */
    double price;       /* beyond what the GPU's price holds; may be below 0 */
};

struct kvs_prices {
    const char *name, *currency;
    double years;    /* over which what is bought is written off */
    double dram_gib; /* of KV tier, over what the host has anyway; 0: can't be had */
    double kwh, pue;
    uint32_t n_gpu, n_drive, n_nic; /* n_nic 0: that of the profiles */
    struct kvs_priced_gpu gpu[KVS_MAX_PRICED];
    struct kvs_priced_drive drive[KVS_MAX_PRICED];
    struct kvs_priced_nic nic[KVS_MAX_PRICED];
    struct kvs_doc *doc;
};

/* Reads a file, or a name of configs/prices. */
KVS_MUST_CHECK enum kvs_code kvs_prices_open(const char *name_or_file, struct kvs_prices **prices,
                                             struct kvs_err *err);
void kvs_prices_free(struct kvs_prices *prices); /* accepts NULL */
/* A line a figure: value, source, date, reference. */
void kvs_prices_print(const struct kvs_prices *prices, FILE *to);

#endif
