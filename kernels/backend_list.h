/* clang-format off */
/* backend_list.h - the back ends: kvs_backend_NAME, defined in NAME/. One line each. */
X(ref)
X(cpu)
X(simt)
X(cuda)
