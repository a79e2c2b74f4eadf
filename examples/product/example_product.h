/* What the library of this example has beside the functions of mobilebert.h. An app in Swift names this file as its
 * bridging header. */
#ifndef EXAMPLE_PRODUCT_H
#define EXAMPLE_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the backend "timed" known. Returns false if it is known already. */
bool example_register_backends(void);

/* Returns the number of passes that models with the backend "timed" have made. */
size_t example_passes(void);

#endif
