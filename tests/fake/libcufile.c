/* A cuFile whose driver does not open. */
struct error {
    int error, cuda_error;
};
struct error cuFileDriverOpen(void);
struct error cuFileDriverClose(void);

struct error cuFileDriverOpen(void)
{
    return (struct error){5001, 0};
}

struct error cuFileDriverClose(void)
{
    return (struct error){0, 0};
}
